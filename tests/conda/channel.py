"""A conda channel in a folder, of the packages that environment files name and all they need, made from wheels."""

import asyncio
import configparser
import email.parser
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import zstandard
from conda_package_streaming.create import conda_builder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from rattler.index import index_fs

PYTHON = platform.python_version()
SERIES = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"lib/python{SERIES}/site-packages"
LOCK = Path(__file__).parents[2] / "requirements.lock"
# Packages that are no Python, and their programs, which are this machine's
PROGRAMS = {"bubblewrap": ("bwrap",), "gxx": ("gcc", "g++")}
PREFIX = "/prefix/of/a/conda/environment"  # in scripts, replaced when a package is installed


def make_channel(folder, environments):
    """Make the channel ``folder``/conda-forge of what environment files need, as specs `name >=version,<version`.

    Each environment's wheels are chosen by pip, as a whole: of a range, the version of requirements.lock, so that
    results are those of a laptop.  pip's own sections are left to pip.
    """
    wheels, channel, made = Path(folder) / "wheels", Path(folder) / "conda-forge", Path(folder) / "made"
    programs = {}
    for specs in environments:
        split = dict(spec.split(" ", 1) for spec in specs)
        programs |= {name: split[name] for name in PROGRAMS if name in split}
        wanted = [name + version for name, version in split.items() if name != "python" and name not in PROGRAMS]
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet"]
        command = [*pip, "--wheel-dir", wheels, "--constraint", LOCK, *wanted]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for platform_folder in ("noarch", "linux-64"):
        (channel / platform_folder).mkdir(parents=True)
    _package(_python(made / "python"), channel)
    for name, version in programs.items():
        _package(_of_programs(made / name, name, version), channel)
    for wheel in sorted(wheels.glob("*.whl")):
        _package(_from_wheel(wheel, made / wheel.stem), channel)
    shutil.rmtree(made)
    asyncio.run(index_fs(channel, force=True))


def _python(root):
    """The Python that runs this, by reference: an environment of it is isolated as a virtual environment is."""
    (root / "bin").mkdir(parents=True)
    (root / SITE).mkdir(parents=True)
    (root / SITE / "README.txt").write_text("site-packages\n", encoding="utf-8")
    base = Path(sys.base_prefix) / "bin"
    (root / "pyvenv.cfg").write_text(
        f"home = {base}\ninclude-system-site-packages = false\nversion = {PYTHON}\n", encoding="utf-8"
    )
    for name in ("python", "python3", f"python{SERIES}"):
        (root / "bin" / name).symlink_to(base / f"python{SERIES}")
    return root, {"name": "python", "version": PYTHON, "depends": [], "python_site_packages_path": SITE}


def _of_programs(root, name, version):
    """This machine's programs, by reference, as the lowest version that a range admits."""
    (root / "bin").mkdir(parents=True)
    (root / "bin" / f".{name}").touch()  # a package has files
    for program in PROGRAMS[name]:
        if found := shutil.which(program):
            (root / "bin" / program).symlink_to(found)
    return root, {"name": name, "version": re.match(r">=([\d.]+)", version)[1], "depends": []}


def _from_wheel(wheel, root):
    """The files of a wheel as they lie in an environment, and what a conda package says of itself."""
    site = root / SITE
    site.mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for data in site.glob("*.data"):
        for part in ("purelib", "platlib"):
            if (data / part).exists():
                shutil.copytree(data / part, site, dirs_exist_ok=True)
        if (data / "scripts").exists():
            shutil.copytree(data / "scripts", root / "bin", dirs_exist_ok=True)
        if (data / "data").exists():
            shutil.copytree(data / "data", root, dirs_exist_ok=True)
        shutil.rmtree(data)
    (information,) = site.glob("*.dist-info")
    (information / "INSTALLER").write_text("conda\n", encoding="utf-8")
    for name, target in _entry_points(information).items():
        module, function = target.split(":")
        (root / "bin").mkdir(exist_ok=True)
        lines = [f"#!{PREFIX}/bin/python", "import sys", f"from {module} import {function.split('.')[0]}"]
        (root / "bin" / name).write_text("\n".join([*lines, f"sys.exit({function}())", ""]), encoding="utf-8")
        (root / "bin" / name).chmod(0o755)
    metadata = email.parser.Parser().parsestr((information / "METADATA").read_text(encoding="utf-8"))
    depends = [spec for text in metadata.get_all("Requires-Dist", []) if (spec := _spec(Requirement(text)))]
    name = canonicalize_name(metadata["Name"])
    return root, {"name": name, "version": metadata["Version"], "depends": [f"python {SERIES}.*", *depends]}


def _entry_points(information):
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str
    parser.read(information / "entry_points.txt")
    scripts = parser["console_scripts"] if parser.has_section("console_scripts") else {}
    return {name: target.split("[")[0].strip() for name, target in scripts.items()}


def _spec(requirement):
    """A requirement of a wheel as conda writes it, or None if it does not apply here."""
    if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
        return None
    return f"{canonicalize_name(requirement.name)} {requirement.specifier}".strip()


def _package(made, channel):
    """Pack the files below a folder into a conda package of the channel."""
    root, about = made
    files = sorted(path for path in root.rglob("*") if path.is_symlink() or path.is_file())
    entries = [_entry(path, path.relative_to(root).as_posix()) for path in files]
    about |= {"build": "0", "build_number": 0, "subdir": "linux-64", "arch": "x86_64", "platform": "linux"}
    information = root / "info"
    information.mkdir()
    (information / "index.json").write_text(json.dumps(about), encoding="utf-8")
    (information / "paths.json").write_text(json.dumps({"paths": entries, "paths_version": 1}), encoding="utf-8")
    (information / "about.json").write_text("{}", encoding="utf-8")
    name = f"{about['name']}-{about['version']}-0"
    with conda_builder(name, channel / "linux-64", compressor=lambda: zstandard.ZstdCompressor(level=1)) as package:
        for path in [*files, *information.iterdir()]:
            package.add(path, arcname=path.relative_to(root).as_posix(), recursive=False)


def _entry(path, name):
    if path.is_symlink():
        return {"_path": name, "path_type": "softlink"}
    content = path.read_bytes()
    entry = {"_path": name, "path_type": "hardlink", "size_in_bytes": len(content)}
    entry["sha256"] = hashlib.sha256(content).hexdigest()
    if PREFIX.encode() in content:
        entry |= {"file_mode": "text", "prefix_placeholder": PREFIX}
    return entry
