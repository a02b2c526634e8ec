"""The check of a node: every rule on plain data, and the look at this machine, with drivers that are made up."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time

import pytest
from aoe import AoeError
from aoe.nodes.fitness import Finding, Wanted, check, described, findings, look, served_in_fp8
from aoe.nodes.probing import Gpu, Node, c_compiler, find_nvcc, free_mib, probe
from support.clones import ROOT

H200 = Gpu("NVIDIA H200", 143_000, 143_771, 9.0)
FOLDERS = (("TMPDIR", "/tmp", 50_000), ("VLLM_CACHE_ROOT", "/c", 50_000), ("TRITON_CACHE_DIR", "/t", 50_000))
INSTALLED = frozenset({"flashinfer", "deep_gemm"})
GOOD = Node(
    gpus=(H200,) * 8, driver="580.65.06", cuda="13.0", hip="", glibc_wanted=(2, 31), packages=INSTALLED, folders=FOLDERS
)
PINNED = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "VLLM_USE_DEEP_GEMM": "0"}
PAPER = Wanted(
    "cuda",
    gpus=8,
    options={"tensor-parallel-size": 8, "enable-expert-parallel": True, "moe-backend": "triton"},
    environment=PINNED,
    mem_mb=200_000,
    gpu_model="h200",
    fp8=True,
)


def node(**changes):
    return dataclasses.replace(GOOD, **changes)


def wanted(options=None, environment=None, **changes):
    options = PAPER.options | (options or {})
    return dataclasses.replace(PAPER, options=options, environment=PINNED | (environment or {}), **changes)


def test_nothing_is_said_of_a_node_that_is_fit():
    assert findings(GOOD, PAPER) == []
    assert findings(Node(folders=FOLDERS), Wanted("cpu", mem_mb=3000)) == []


ON = {"VLLM_USE_FLASHINFER_SAMPLER": "1"}
TWO_NODES = {"pipeline-parallel-size": 2}
PROBLEMS = {
    "no driver": (node(driver=None, gpus=None), PAPER, "no NVIDIA driver"),
    "an old driver": (node(driver="550.54.15"), PAPER, "550.54.15 is older than 580, which CUDA 13.0 wants"),
    "a very old driver": (node(driver="470.1", cuda="12.9"), PAPER, "older than 525, which CUDA 12.9 wants"),
    "PyTorch for CPUs": (node(cuda=""), PAPER, "PyTorch is not built for CUDA"),
    "too few GPUs": (node(gpus=(H200,) * 4), PAPER, "4 GPUs are visible to the job, and the server wants 8"),
    "no GPUs": (node(gpus=()), wanted({"tensor-parallel-size": 1}), "0 GPUs are visible"),
    "a GPU in use": (
        node(gpus=(H200, Gpu("NVIDIA H200", 20_000, 143_771, 9.0))),
        wanted({"tensor-parallel-size": 2, "gpu-memory-utilization": 0.92}),
        "GPU 1 has 19.5 of 140.4 GiB free, and the server wants 129.2",
    ),
    "a GPU that is too old": (node(gpus=(Gpu("Tesla P100", None, None, 6.0),) * 8), PAPER, "capability is 6.0"),
    "no C compiler": (node(compiler=None), PAPER, "Triton finds no C compiler"),
    "no nvcc for the sampler": (GOOD, wanted(environment=ON), "FlashInfer compiles its sampler, and there is no nvcc"),
    "no nvcc for the experts": (
        GOOD,
        wanted({"moe-backend": "auto"}),
        "FlashInfer's kernel for experts, which needs nvcc",
    ),
    "old libraries": (node(glibc=(2, 28)), PAPER, "glibc is 2.28, and vLLM was built for 2.31"),
    "old libraries, AMD": (node(glibc=(2, 34), hip="7.0"), wanted(flavour="rocm"), "built for 2.35"),
    "no AMD driver": (node(driver=None), wanted(flavour="rocm"), "/dev/kfd cannot be opened"),
    "PyTorch for NVIDIA": (GOOD, wanted(flavour="rocm"), "not built for ROCm"),
    "no scratch space": (node(folders=(("TMPDIR", "/scratch", 3),)), PAPER, "/scratch is full"),
    "no cache to write to": (
        node(folders=(("TRITON_CACHE_DIR", "/home/u", None),)),
        PAPER,
        "let TRITON_CACHE_DIR name",
    ),
    "a path too long": (node(folders=(("TMPDIR", f"/{'x' * 70}", 50_000),)), PAPER, "too long for vLLM's sockets"),
    "no shared memory": (node(shared_memory=2), PAPER, "/dev/shm has 2 MiB left, and 8 processes"),
    "shared memory that is closed": (node(shared_memory=None), PAPER, "/dev/shm cannot be written to"),
}
WARNINGS = {
    "an old driver, bridged": (
        node(driver="550.54.15"),
        wanted(environment={"VLLM_ENABLE_CUDA_COMPATIBILITY": "1"}),
        "550",
    ),
    "compatibility libraries": (
        node(driver="550.1"),
        wanted(environment={"LD_LIBRARY_PATH": "/usr/local/cuda/compat"}),
        "550",
    ),
    "GPUs that are not listed": (node(gpus=None), PAPER, "cannot be listed"),
    "fewer GPUs than asked for": (node(gpus=(H200,) * 4), wanted({"tensor-parallel-size": 4}), "4 GPUs are visible"),
    "another GPU": (GOOD, wanted(gpu_model="h100"), "calls itself NVIDIA H200, and the study was to run on h100"),
    "a GPU without FP8": (
        node(gpus=(Gpu("A100", None, None, 8.0),) * 8),
        wanted(gpu_model=None),
        "does not compute with FP8",
    ),
    "launchers from a cache": (node(compiler=None, packages=INSTALLED | {"triton cache"}), PAPER, "no C compiler"),
    "DeepGEMM": (GOOD, wanted(environment={"VLLM_USE_DEEP_GEMM": "1"}), "requantizes FP8 weights"),
    "experts that compile": (node(nvcc="/usr/bin/nvcc"), wanted({"moe-backend": "auto"}), "compiles for an hour"),
    "little memory": (node(memory=100_000), PAPER, "100000 MiB of memory are free"),
    "a full cache": (node(folders=(("VLLM_CACHE_ROOT", "/home/u", 3),)), PAPER, "/home/u is full"),
    "a cache that is closed": (node(folders=(("VLLM_CACHE_ROOT", "/home/u", None),)), PAPER, "cannot be written to"),
    "Triton's on CPUs": (node(folders=(("TRITON_CACHE_DIR", "/h", None),)), Wanted("cpu"), "/h cannot be written to"),
    "little scratch space": (node(folders=(("TMPDIR", "/scratch", 300),)), PAPER, "300 MiB left"),
    "sockets elsewhere": (
        node(folders=(("TMPDIR", f"/{'x' * 70}", 50_000),)),
        wanted(environment={"VLLM_RPC_BASE_PATH": "/tmp"}),
        "too long",
    ),
    "few open files": (node(open_files=1024), PAPER, "1024 files"),
    "locked memory": (node(locked_memory=65536), wanted(TWO_NODES, nodes=2), "64 KiB of memory may be locked"),
    "little shared memory": (node(shared_memory=64), PAPER, "/dev/shm has 64 MiB left, which is little"),
}
FINE = {
    "an older CUDA on an older driver": (node(driver="535.1", cuda="12.9"), PAPER),
    "a toolkit": (node(nvcc="/usr/local/cuda/bin/nvcc"), wanted(environment=ON)),
    "a compiled sampler": (node(packages=INSTALLED | {"flashinfer sampling"}), wanted(environment=ON)),
    "no FlashInfer": (node(packages=frozenset()), wanted({"moe-backend": "auto"}, environment=ON)),
    "BF16 with expert parallelism": (GOOD, wanted({"moe-backend": "auto"}, fp8=False)),
    "older GPUs with expert parallelism": (
        node(gpus=(Gpu("NVIDIA L40S", None, None, 8.9),) * 8),
        wanted({"moe-backend": "auto"}, gpu_model="l40s"),
    ),
    "half of the GPUs on each node": (node(locked_memory=-1), wanted(TWO_NODES, nodes=2)),
    "a cluster's longer name": (GOOD, wanted(gpu_model="nvidia_h200")),
    "GPUs of unknown size": (node(gpus=(Gpu(),) * 8), wanted()),
    "one process, little shared memory": (node(shared_memory=2), wanted({"tensor-parallel-size": 1})),
    "CPUs without a compiler": (Node(compiler=None, folders=FOLDERS), Wanted("cpu")),
    "an unknown PyTorch": (node(cuda=None), PAPER),
}


@pytest.mark.parametrize(("there", "asked", "said"), PROBLEMS.values(), ids=PROBLEMS)
def test_what_keeps_a_server_from_starting_is_a_problem(there, asked, said):
    (problem,) = [finding for finding in findings(there, asked) if said in finding.sentence]
    assert problem.fatal
    assert problem.sentence[0].isupper() or problem.sentence[0] in "/0123456789"
    assert problem.sentence.endswith(".")


@pytest.mark.parametrize(("there", "asked", "said"), WARNINGS.values(), ids=WARNINGS)
def test_what_may_go_wrong_is_a_warning(there, asked, said):
    (found,) = findings(there, asked)
    assert said in found.sentence and not found.fatal


@pytest.mark.parametrize(("there", "asked"), FINE.values(), ids=FINE)
def test_what_would_have_worked_is_not_blocked(there, asked):
    assert findings(there, asked) == []


def test_problems_come_before_warnings():
    found = findings(node(open_files=10, compiler=None), PAPER)
    assert [finding.fatal for finding in found] == [True, False]


# the look at a real machine: this one


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A home of one's own, and no variable that says where caches are."""
    for name in ("TMPDIR", "VLLM_CACHE_ROOT", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "CC", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CUDA_VISIBLE_DEVICES", "FLASHINFER_WORKSPACE_BASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def tool(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)
    return folder


DRIVER = """case "$1" in
*compute_cap*) {newer} ;;
esac
"""
ROWS = "0, GPU-aaaa-1, NVIDIA H200, 143000, 143771, 580.65.06{}\n1, GPU-bbbb-2, NVIDIA H200, 9, 143771, 580.65.06{}"


def driver(folder, capability=", 9.0", newer=":"):
    """An nvidia-smi that shows two GPUs; newer: what it does when asked for what old ones do not know."""
    return tool(folder, "nvidia-smi", DRIVER.format(newer=newer) + f"cat <<'E'\n{ROWS.format(*[capability] * 2)}\nE")


def environment(**changes):
    return {**os.environ, **changes}


def test_this_machine_is_looked_at_in_a_moment(here):
    start = time.perf_counter()
    found = probe(environment(), "cpu")
    assert time.perf_counter() - start < 2
    assert (found.gpus, found.driver) == ((), None)
    assert found.glibc >= (2, 28) and found.glibc_wanted >= (2, 17)
    assert found.memory > 100 and found.shared_memory > 0
    assert {name: path for name, path, _ in found.folders} == {
        "TMPDIR": "/tmp",
        "VLLM_CACHE_ROOT": f"{here}/home/.cache/vllm",
        "TRITON_CACHE_DIR": f"{here}/home/.triton/cache",
    }
    assert all(free > 0 for *_, free in found.folders)


def test_nothing_is_imported_that_takes_long():
    code = (
        "import sys; from aoe.nodes.fitness import *\n"
        "look(Wanted('cpu')); print(*{'torch', 'numpy', 'vllm'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, env=environment(PYTHONPATH=str(ROOT / "scripts"))
    )
    assert done.stdout.strip() == b""


def test_gpus_are_those_that_the_driver_shows(here):
    path = str(driver(here / "bin"))
    found = probe(environment(PATH=f"{path}:/bin:/usr/bin"), "cuda")
    assert (found.driver, found.gpus) == ("580.65.06", (H200, dataclasses.replace(H200, free=9)))
    assert found.cuda == "" or found.cuda[0].isdigit()
    assert any("NVIDIA H200 with 139.6 of 140.4 GiB free" in line for line in described(found))


@pytest.mark.parametrize(
    ("visible", "free"), [("1", [9]), ("GPU-bbbb", [9]), ("1,0", [9, 143_000]), ("", []), ("MIG-77", [None])]
)
def test_gpus_are_those_that_the_job_may_use(here, visible, free):
    path = f"{driver(here / 'bin')}:/bin:/usr/bin"
    found = probe(environment(PATH=path, CUDA_VISIBLE_DEVICES=visible), "cuda")
    assert [gpu.free for gpu in found.gpus] == free


def test_an_old_driver_is_asked_for_what_it_knows(here):
    path = f"{driver(here / 'bin', capability='', newer='exit 2')}:/bin:/usr/bin"
    found = probe(environment(PATH=path), "cuda")
    assert [gpu.capability for gpu in found.gpus] == [None, None] and found.driver == "580.65.06"


@pytest.mark.parametrize("script", ["exit 9", "echo no devices were found", ""])
def test_a_driver_that_fails_shows_nothing(here, script):
    found = probe(environment(PATH=f"{tool(here / 'bin', 'nvidia-smi', script)}:/bin:/usr/bin"), "cuda")
    assert found.gpus is None


def test_amds_driver_is_not_here(here):
    assert probe(environment(), "rocm").driver is None or os.path.exists("/dev/kfd")


def test_a_compiler_is_found_as_triton_finds_it(here):
    path = str(tool(here / "bin", "clang", ":"))
    assert c_compiler({"PATH": path}) == f"{path}/clang"
    tool(here / "bin", "gcc", ":")
    assert c_compiler({"PATH": path}) == f"{path}/gcc"
    assert c_compiler({"PATH": path, "CC": f"{path}/clang -O2"}) == f"{path}/clang"
    assert c_compiler({"PATH": path, "CC": "cc-that-is-not-there"}) is None
    assert c_compiler({"PATH": str(here)}) is None


def test_nvcc_is_found_where_flashinfer_looks(here, monkeypatch):
    path = str(tool(here / "bin", "nvcc", ":"))
    assert find_nvcc({"PATH": path}) == f"{path}/nvcc"
    assert find_nvcc({"PATH": "", "CUDA_HOME": str(here)}) == f"{path}/nvcc"
    assert find_nvcc({"PATH": path, "CUDA_HOME": str(here / "elsewhere")}) is None, "CUDA_HOME goes before PATH"


def test_folders_are_written_to(here):
    assert free_mib(here / "new/folder") > 0
    (here / "file").write_text("", encoding="utf-8")
    assert free_mib(here / "file/below") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_full_disk_is_found(here):
    (here / "small").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", here / "small"]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        _, found = look(Wanted("cpu", environment={"TMPDIR": str(here / "small")}), patience=0)
        assert (
            Finding(f"{here}/small is full (1 MiB are free); make room, or let TMPDIR name another folder.", True)
            in found
        )
        (here / "small/all").write_bytes(bytes(1 << 20))
        assert free_mib(here / "small") is None
    finally:
        subprocess.run(["umount", here / "small"], check=True)


# what a job does with it


def test_a_node_that_cannot_serve_ends_the_job_in_one_sentence(here, capsys):
    (here / "file").write_text("", encoding="utf-8")
    with pytest.raises(
        AoeError, match=r"cannot serve: .*/file cannot be written to; let TMPDIR name a folder that can"
    ):
        check(Wanted("cpu", environment={"TMPDIR": f"{here}/file"}), patience=0)
    assert "Problem: " in capsys.readouterr().out


def test_a_node_with_a_problem_is_looked_at_twice(here):
    """The driver shows memory in use when it is asked for the first time."""
    busy = f"[ -e {here}/asked ] && free=143000 || free=9; touch {here}/asked"
    row = 'echo "0, GPU-a, NVIDIA H200, $free, 143771, 580.65.06, 9.0"'
    path = f"{tool(here / 'bin', 'nvidia-smi', f'{busy}; {row}')}:/bin:/usr/bin"
    _, found = look(Wanted("cuda", gpus=1, environment={"PATH": path}), patience=0)
    assert not any("GiB free" in finding.sentence for finding in found)
    assert (here / "asked").exists()


def test_warnings_do_not_end_a_job(here, capsys):
    with tempfile.TemporaryDirectory() as short:  # as the tests' own folders may be too long for a server's sockets
        check(Wanted("cpu", mem_mb=1_000_000_000, environment={"TMPDIR": short}))
    assert "Warning: " in capsys.readouterr().out


def test_fp8_is_what_the_config_says_unless_it_is_overridden():
    mini = ROOT / "resources/mini/r1"
    assert served_in_fp8(mini, {})
    assert not served_in_fp8(mini, {"hf-overrides": {"quantization_config": None}})
    assert not served_in_fp8(mini, {"hf-overrides": json.dumps({"quantization_config": None})})
    assert not served_in_fp8(ROOT / "resources/qwen3-30b-a3b", {})
    assert not served_in_fp8(ROOT / "nowhere", {})
