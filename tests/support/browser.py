"""A real browser, without a screen, that opens a page as people do: at some width, in daylight or at night."""

import shutil
from pathlib import Path

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
FACTS = """
const style = getComputedStyle(document.body);
return {
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  ink: style.color,
  paper: style.backgroundColor,
  broken: [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.src),
  images: document.images.length,
  links: [...document.links].map(link => link.getAttribute('href')),
  unnamed: [...document.images].filter(image => !image.alt).length,
  text: document.body.innerText,
};
"""


def missing():
    """Why no browser can be started here, or None."""
    lacking = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{', '.join(lacking)} not installed (Debian: chromium, chromium-driver)" if lacking else None


class Browser:
    """Chromium, for as long as a ``with`` block lasts."""

    def __enter__(self):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, page, width="desktop", dark=False, picture=None):
        """What there is to see of a page (a path): FACTS, and ``errors``, what the console says."""
        columns, rows = WIDTHS[width]
        metrics = {"width": columns, "height": rows, "deviceScaleFactor": 1, "mobile": width == "phone"}
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        self.driver.get(Path(page).resolve().as_uri())
        if picture:
            self.driver.save_screenshot(str(picture))
        return self.driver.execute_script(FACTS) | {"errors": self.driver.get_log("browser")}


def contrast(ink, paper):
    """WCAG's contrast ratio of two colours as ``rgb(r, g, b)``; from 1 to 21, text needs 4.5."""
    light, dark = sorted((_luminance(colour) for colour in (ink, paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour):
    channels = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
