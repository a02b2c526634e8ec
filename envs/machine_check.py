"""Say in one sentence why the environment cannot be installed on this machine, before anything is fetched.

`machine_check.py FOLDER [GB]` looks at the machine and at the Python that runs it: FOLDER is where the environment will
be, GB the free disk space that it needs.  `machine_check.py --memory` prints the MiB that new processes can use.

This file has to parse on Python 2.7 and 3.6: an old Python prints the sentence, not a SyntaxError.
"""

import io
import os
import platform
import re
import struct
import sys

OLDEST, NEWEST = (3, 11), (3, 14)  # requirements.lock has wheels for these
GLIBC = (2, 31)  # llguidance, which vLLM needs, has no wheels for older ones
MACHINES = ("x86_64", "aarch64")
COMPILES = (3, 14)  # from this Python on, a package of the lock (immutables) has no wheel and is compiled
ENVIRONMENT_GB = 3
MEMORY_GB = 8
OTHER = {"amd64": "x86_64", "arm64": "aarch64"}  # names of machines in other systems
UNLIMITED = 1 << 60  # bytes; cgroups v1 write "no limit" as a number of this size


def lack(facts):
    """The sentence that says what a machine lacks, or None: the first of the reasons to refuse.

    facts: what `look` returns.
    """
    python = "%d.%d" % facts["python"][:2]
    span = "%d.%d to %d.%d" % (OLDEST + NEWEST)
    named = "make PYTHON=python%d.%d" % OLDEST
    if facts["system"] != "Linux":
        return "The set-up needs Linux, and this is %s: use a Linux machine or a Linux container." % facts["system"]
    if facts["machine"] not in MACHINES or facts["bits"] != 64:
        return "The set-up needs 64-bit x86-64 or aarch64, and this Python is built for %s with %d bits." % (
            facts["machine"],
            facts["bits"],
        )
    if facts["python"][:2] < OLDEST:
        return "Python %s is too old, %s is needed; name one: %s" % (python, span, named)
    if facts["python"][:2] > NEWEST:
        return "Python %s is too new, vLLM and PyTorch have builds for %s; name one: %s" % (python, span, named)
    if facts["implementation"] != "CPython" or facts["free_threaded"]:
        kind = "free-threaded" if facts["free_threaded"] else facts["implementation"]
        return "This Python is %s, and vLLM has builds for CPython with the GIL alone; name one: %s" % (kind, named)
    if facts["glibc"] is None:
        return "The set-up needs glibc, and this system has another C library (musl?): use Debian, Ubuntu or Fedora."
    if facts["glibc"] < GLIBC:
        versions = facts["glibc"] + GLIBC
        return "glibc %d.%d is too old, vLLM needs %d.%d or newer: use a newer distribution or a container." % versions
    if not facts["venv"]:
        return "This Python cannot make virtual environments; on Debian or Ubuntu: apt install python%s-venv" % python
    if facts["python"][:2] >= COMPILES and not facts["compiler"]:
        return (
            "No C compiler was found, and the set-up on Python %s needs one; on Debian or Ubuntu: apt install gcc"
            % (python)
        )
    if facts["python"][:2] >= COMPILES and not facts["headers"]:
        lacking = "Python.h was not found, and the set-up on Python %s needs it" % python
        return "%s; on Debian or Ubuntu: apt install python%s-dev" % (lacking, python)
    if facts["disk_gb"] is not None and facts["disk_gb"] < facts["disk_wanted_gb"]:
        needed = "The environment needs %g GB of disk space" % facts["disk_wanted_gb"]
        where = "there are %.1f GB free for %s" % (facts["disk_gb"], facts["folder"])
        return "%s, and %s: free some, or name another folder: make VENV=..." % (needed, where)
    return None


def doubts(facts):
    """Sentences on what a machine may lack, where the set-up works all the same."""
    if facts["memory_gb"] is not None and facts["memory_gb"] < MEMORY_GB:
        yield "Only %.1f GB of memory are free; the main job was tried with %d GB." % (facts["memory_gb"], MEMORY_GB)
    if not facts["compiler"]:
        yield "No C compiler was found; vLLM needs one wherever a study lets it compile (enforce-eager: false)."
    elif not facts["headers"]:
        yield "Python.h was not found; vLLM needs it wherever a study lets it compile (enforce-eager: false)."


def look(folder, disk_wanted_gb=None):
    """Return the facts that `lack` and `doubts` ask about, of this machine and this Python, as a dict."""
    import sysconfig

    machine = platform.machine().lower()
    memory = memory_mb()
    return {
        "python": tuple(sys.version_info[:3]),
        "implementation": platform.python_implementation(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "system": platform.system(),
        "machine": OTHER.get(machine, machine),
        "bits": struct.calcsize("P") * 8,
        "glibc": glibc(),
        "venv": can_make_environments(),
        "compiler": compiler(os.environ),
        "headers": os.path.exists(os.path.join(sysconfig.get_path("include") or "", "Python.h")),
        "memory_gb": None if memory is None else memory / 1024.0,
        "folder": folder,
        "disk_gb": free_disk_gb(folder),
        # an environment that is there already, or a part of it, is updated in place
        "disk_wanted_gb": disk_wanted_gb or (0 if os.path.exists(os.path.join(folder, "bin/pip")) else ENVIRONMENT_GB),
    }


def glibc():
    """(major, minor) of glibc, or None if the C library is another one."""
    try:
        text = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, OSError, ValueError):
        return None
    found = re.match(r"glibc (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def can_make_environments():
    """Whether `python -m venv` works; distributions ship parts of it in a package of their own."""
    try:
        import ensurepip
        import venv
    except ImportError:
        return False
    return bool(ensurepip and venv)


def compiler(environment):
    """Path of the C compiler: the one that CC names, else cc, gcc or clang on PATH; None without one."""
    named = environment.get("CC", "").split()[:1]
    for name in named or ["cc", "gcc", "clang"]:
        for folder in environment.get("PATH", "").split(os.pathsep):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
    return None


def free_disk_gb(folder):
    """GB that a user may still write below a folder, which need not exist yet; None if no one can tell."""
    folder = os.path.abspath(folder)
    while not os.path.exists(folder) and folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
    try:
        state = os.statvfs(folder)
    except (AttributeError, OSError):
        return None
    return state.f_bavail * state.f_frsize / 1e9


def memory_mb(root="/"):
    """MiB that new processes can use: of the machine, and of each cgroup that this process is in; None if unknown.

    root: the folder that has proc and sys.
    """
    found = re.search(r"^MemAvailable: *(\d+) kB", _read(root, "proc/meminfo"), re.MULTILINE)
    free = [int(found.group(1)) * 1024] if found else []
    for line in _read(root, "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            free += _free_in_cgroups(root, "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            free += _free_in_cgroups(root, "sys/fs/cgroup/memory", path, *names)
    return max(0, min(free)) // (1024 * 1024) if free else None


def _free_in_cgroups(root, mount, path, limit_name, usage_name, cache_name):
    """Free bytes of a cgroup and of those above it, for each that has a limit; its file cache counts as free."""
    while True:
        folder = mount + "/" + path.strip("/")
        limit, usage = _read(root, folder + "/" + limit_name).strip(), _read(root, folder + "/" + usage_name).strip()
        if limit.isdigit() and usage.isdigit() and int(limit) < UNLIMITED:
            cache = re.search(r"^%s (\d+)" % cache_name, _read(root, folder + "/memory.stat"), re.MULTILINE)
            yield int(limit) - int(usage) + (int(cache.group(1)) if cache else 0)
        if not path.strip("/"):
            return
        path = os.path.dirname(path.rstrip("/"))


def _read(root, name):
    """The text of a file of the kernel's; empty if there is none."""
    try:
        with io.open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
            return file.read()
    except (IOError, OSError):
        return ""


def main(words):
    if words == ["--memory"]:
        memory = memory_mb()
        print("" if memory is None else int(memory * 0.9))
        return
    facts = look(words[0], *[float(word) for word in words[1:]])
    refused = lack(facts)
    if refused:
        sys.exit(refused)
    for sentence in doubts(facts):
        sys.stderr.write("Warning: %s\n" % sentence)


if __name__ == "__main__":
    main(sys.argv[1:])
