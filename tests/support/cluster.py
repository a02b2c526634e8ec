"""What a user of a cluster has: a Slurm, conda, and Snakemake in the environment of envs/launcher.yaml."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
import channel
from support.clones import ROOT, Clone

CONDA = ROOT / "tests/conda"
# what a site sets in the profile, here for nodes of two cores; members of groups get both
SITE = {"cores": 2, "slurm-init-seconds-before-status-checks": 3, "latency-wait": 5}
# those that can be made, and used, without a GPU
ENVIRONMENTS = ("analysis", "benchmarks", "download", "launcher", "serving_cpu", "tensors")


def specs(environment):
    """The conda part of an environment file."""
    content = yaml.safe_load((ROOT / f"envs/{environment}.yaml").read_text(encoding="utf-8"))
    return [spec for spec in content["dependencies"] if isinstance(spec, str)]


class Cluster:
    """Clones on it run with the Slurm, and in the environments, that are given."""

    def __init__(self, folder, slurm):
        self.folder, self.slurm = Path(folder), slurm
        self.environment = {
            **os.environ,
            "CONDA_CHANNELS": str(self.folder / "channels"),
            "CONDA_PYTHON": sys.executable,
            "PIP_RETRIES": "0",  # an index that is not there is not waited for
        }
        for name in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE"):  # a login shell has neither
            self.environment.pop(name, None)
        channel.make_channel(self.folder / "channels", [specs(name) for name in ENVIRONMENTS])
        clone = self.clone("launcher")
        launcher = self.folder / "launcher_environment"
        create = [CONDA / "bin/conda", "env", "create", "--file", "envs/launcher.yaml", "--prefix", launcher]
        subprocess.run(create, cwd=clone.folder, env=self.environment, check=True)
        self.home = self.folder / "home"
        self.home.mkdir()
        self.environment["HOME"] = str(self.home)
        self.environment["PATH"] = f"{launcher}/bin:{CONDA}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin"

    def clone(self, name):
        """A fresh clone whose profile is adapted as README.md says."""
        (self.folder / name).mkdir()
        clone = Clone(self.folder / name)
        profile = clone.folder / "profiles/slurm/config.yaml"
        text = profile.read_text(encoding="utf-8")
        for key, value in (SITE | {"conda-prefix": self.folder / "environments"}).items():
            text, found = re.subn(rf"^(# )?{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
            assert found == 1, f"the profile says nothing of {key}"
        profile.write_text(text, encoding="utf-8")
        return clone

    def start(self, clone, *words):
        with open(clone.folder / "launcher.log", "ab") as log:
            return subprocess.Popen(
                ["snakemake", "--profile", "slurm", *words],
                cwd=clone.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(self, clone, *words):
        assert self.start(clone, *words).wait() == 0, self.log(clone)[-8000:]

    def log(self, clone):
        return (clone.folder / "launcher.log").read_text(encoding="utf-8")
