"""The sandbox's filter of system calls: a program for the kernel (BPF), which bubblewrap loads.

It forbids what would hold memory that belongs to no process, or lead into other namespaces.  Then the limits on
processes and on scratch space are all there is.

libseccomp's bindings were tried instead.  The official one is not on PyPI.  pyseccomp is, but has had no release since
January 2021, and does not find the libseccomp of a conda environment.  libseccomp can also not refuse x32's calls and
kill programs for other machines at once: it has a single answer for both.  The tests compare the numbers below with
libseccomp's.
"""

import errno
import struct

from aoe import AoeError

AUDIT_NUMBERS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
FORBIDDEN = {  # call -> its number on each of these machines
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
}
CLONE = (56, 220)
CLONE3 = (435, 435)
NEW_NAMESPACES = 0x7E020080  # all of clone's CLONE_NEW… flags
X32 = 0x40000000  # set in the numbers of another way to make calls on x86-64

# linux/bpf_common.h: LOAD reads 4 bytes of the call's data at an offset; jumps skip so many lines if true, if false
LOAD, IF_EQUAL, IF_AT_LEAST, IF_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER, MACHINE, FIRST_ARGUMENT = 0, 4, 16  # offsets in linux/seccomp.h's seccomp_data
KILL, ALLOW, ERROR = 0x80000000, 0x7FFF0000, 0x00050000  # what the kernel does then; an error's number is added
REFUSE = ERROR | errno.EPERM


def filter_program(machine: str) -> bytes:
    """The filter for a machine, as ``platform.machine()`` names it.  Raises AoeError if it is made for others only."""
    if machine not in AUDIT_NUMBERS:
        raise AoeError(f"The sandbox is not made for {machine}; give it an image, for Docker or Apptainer.")
    column = list(AUDIT_NUMBERS).index(machine)
    lines = [(LOAD, 0, 0, MACHINE), (IF_EQUAL, 1, 0, AUDIT_NUMBERS[machine]), (RETURN, 0, 0, KILL)]
    lines += [(LOAD, 0, 0, NUMBER), *_answered(IF_AT_LEAST, X32, REFUSE)]
    for numbers in FORBIDDEN.values():
        lines += _answered(IF_EQUAL, numbers[column], REFUSE)
    # the flags of clone3 cannot be seen; libraries take clone if there is no clone3
    lines += _answered(IF_EQUAL, CLONE3[column], ERROR | errno.ENOSYS)
    of_clone = [(LOAD, 0, 0, FIRST_ARGUMENT), *_answered(IF_ANY_BIT, NEW_NAMESPACES, REFUSE)]
    lines += [(IF_EQUAL, 0, len(of_clone), CLONE[column]), *of_clone, (RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _answered(condition: int, value: int, answer: int) -> list[tuple[int, int, int, int]]:
    """Lines that give an answer if what was loaded meets a condition."""
    return [(condition, 0, 1, value), (RETURN, 0, 0, answer)]
