"""Clones of this repository, in which the workflow runs as a user runs it."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
# A study of a few answers, for what has to run more than once.
SMALL = {
    "benchmarks": {"arithmetic": {"questions": 12, "seed": 1}, "dialogue": {"questions": 6, "seed": 1}},
    "variants": {
        "r1t": {
            "base": "v3-0324",
            "weights": {"r1": 1},
            "subset": {"groups": ["routed_experts"]},
            "publish": True,
        }
    },
    "sweeps": {
        "threshold": {
            "base": "v3-0324",
            "other": "r1",
            "lambda2": [0.7],
            "delta": [0, 8],
            "space": "codes",
        }
    },
    "figures": {"base": "v3-0324", "other": "r1", "space": "codes", "threshold": "threshold"},
}


class Clone:
    """A copy of the repository's files in ``folder``, without anything that git ignores."""

    def __init__(self, folder):
        self.folder = Path(folder)
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        listing = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
        for file in filter(None, listing.split("\0")):
            if (ROOT / file).is_file() or (ROOT / file).is_symlink():
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, self.folder / file, follow_symlinks=False)

    def copy(self, folder):
        """This clone once more, in a ``folder`` that is not there yet, with everything that was made in it."""
        other = object.__new__(type(self))
        other.folder = Path(shutil.copytree(self.folder, folder, symlinks=True))
        return other

    def make(self, study="mini"):
        """The README's command for the main job, in the environment that runs the tests."""
        return ["make", "run", f"STUDY={study}", f"VENV={sys.prefix}", "CORES=2"]

    def adapt(self, **site):
        """Change keys of the profile's site.yaml."""
        path = self.folder / "profiles/slurm/site.yaml"
        content = yaml.safe_load(path.read_text(encoding="utf-8")) | site
        path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def run(self, *command, check=True):
        """Run a command in the clone and return the finished process, its output as text."""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, encoding="utf-8")
        if check:
            assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
        return done

    def command(self, *words):
        return [sys.executable, "-m", "snakemake", "--cores", "2", *words]

    def snakemake(self, *words, check=True):
        return self.run(*self.command(*words), check=check)

    def content(self):
        """The mini study, as it stands in its file."""
        return yaml.safe_load((self.folder / "config/studies/mini.yaml").read_text(encoding="utf-8"))

    def study(self, name, **changes):
        """Write the study ``name``: the mini study with some of its top-level keys replaced (audits with variants)."""
        if "variants" in changes:
            changes = {"audits": {}, **changes}
        path = self.folder / f"config/studies/{name}.yaml"
        path.write_text(yaml.safe_dump(self.content() | changes, sort_keys=False), encoding="utf-8")
        return path
