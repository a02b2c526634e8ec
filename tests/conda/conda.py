"""The part of conda's command line that Snakemake calls, by py-rattler; CONDA_CHANNELS names the folder of channels."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from rattler import Channel, Gateway, MatchSpec, VirtualPackage, install, solve

HERE = Path(__file__).parent
VERSION = "24.11.0"  # the oldest conda that Snakemake 9 accepts is 24.7.1


async def create(environment, prefix, cache):
    """Solve and install an environment file's conda section, then hand its pip section to the environment's pip."""
    content = yaml.safe_load(Path(environment).read_text(encoding="utf-8"))
    channels = [Channel(f"file://{os.environ['CONDA_CHANNELS']}/{c}") for c in content["channels"] if c != "nodefaults"]
    channels = [channel for channel in channels if Path(channel.base_url.removeprefix("file://")).is_dir()]
    specs = [spec for spec in content["dependencies"] if isinstance(spec, str)]
    records = await solve(
        sources=channels,
        specs=[MatchSpec(spec) for spec in specs],
        gateway=Gateway(cache_dir=cache / "repodata"),
        platforms=["linux-64", "noarch"],
        virtual_packages=VirtualPackage.detect(),
    )
    await install(records, target_prefix=prefix, cache_dir=cache, show_progress=False)
    for section in (spec for spec in content["dependencies"] if isinstance(spec, dict)):
        requirements = Path(prefix) / "requirements.txt"
        requirements.write_text("\n".join(section["pip"]) + "\n", encoding="utf-8")
        pip = [f"{prefix}/bin/python", "-m", "pip", "install", "--quiet", "--no-input", "-r", requirements]
        subprocess.run(pip, check=True, env={**os.environ, "PYTHONPATH": ""})


def option(words, *names):
    for word, following in zip(words, [*words[1:], None], strict=True):
        for name in names:
            if word == name:
                return following
            if word.startswith(f"{name}="):
                return word.split("=", 1)[1]
    raise SystemExit(f"{names[0]} is missing")


def main(words):
    match words:
        case ["--version" | "-V"]:
            print(f"conda {VERSION}")
        case ["info", *_]:
            print(json.dumps({"conda_prefix": str(HERE), "root_prefix": str(HERE), "platform": "linux-64", "envs": []}))
        case ["config", "--get", *_]:
            print(json.dumps({"get": {"channel_priority": "strict"}}))
        case ["env", "create", *_]:
            cache = Path(os.environ["CONDA_CHANNELS"]) / "cache"
            asyncio.run(create(option(words, "--file", "-f"), option(words, "--prefix", "-p"), cache))
        case ["clean", *_]:
            pass
        case _:
            raise SystemExit(f"This is no real conda, and does not know {words}.")


if __name__ == "__main__":
    main(sys.argv[1:])
    # Rattler's own threads may still be at the last await when the interpreter is taken down, and then crash it
    # (github.com/PyO3/pyo3-async-runtimes/issues/40), so it is left standing.
    sys.stdout.flush()
    os._exit(0)
