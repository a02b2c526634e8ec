"""The filter refuses system calls on machines of both kinds; its numbers are those that libseccomp knows."""

import ctypes
import errno
import struct

import pytest
from aoe import AoeError
from benchmarks import system_calls
from benchmarks.system_calls import (
    ALLOW,
    AUDIT_NUMBERS,
    CLONE,
    CLONE3,
    ERROR,
    FORBIDDEN,
    KILL,
    NEW_NAMESPACES,
    REFUSE,
    filter_program,
)

MACHINES = list(enumerate(AUDIT_NUMBERS))
OF_A_THREAD, OF_A_FORK = 0x3D0F00, 0x1200011  # clone's flags in glibc


def answer(machine, number, argument=0, audit_number=None):
    """What the kernel would do: the filter's program, executed."""
    data = struct.pack("=IIQQ", number, audit_number or AUDIT_NUMBERS[machine], 0, argument)
    lines, at, loaded = list(struct.iter_unpack("=HBBI", filter_program(machine))), 0, None
    while True:
        operation, if_true, if_false, value = lines[at]
        at += 1
        if operation == system_calls.RETURN:
            return value
        if operation == system_calls.LOAD:
            (loaded,) = struct.unpack_from("=I", data, value)
            continue
        true = {
            system_calls.IF_EQUAL: loaded == value,
            system_calls.IF_AT_LEAST: loaded >= value,
            system_calls.IF_ANY_BIT: bool(loaded & value),
        }
        at += if_true if true[operation] else if_false


@pytest.mark.parametrize("column, machine", MACHINES)
def test_calls_are_refused_by_number_and_all_others_allowed(column, machine):
    forbidden = {numbers[column] for numbers in FORBIDDEN.values()}
    for number in range(1000):
        expected = REFUSE if number in forbidden else ERROR | errno.ENOSYS if number == CLONE3[column] else ALLOW
        assert answer(machine, number) == expected, number
    assert answer(machine, 0x40000000 | CLONE[column]) == REFUSE  # x32


@pytest.mark.parametrize("column, machine", MACHINES)
def test_clone_makes_threads_and_processes_but_no_namespaces(column, machine):
    assert answer(machine, CLONE[column], OF_A_THREAD) == answer(machine, CLONE[column], OF_A_FORK) == ALLOW
    flags = [1 << bit for bit in range(32) if NEW_NAMESPACES >> bit & 1]
    assert len(flags) == 8
    for flag in flags:
        assert answer(machine, CLONE[column], OF_A_FORK | flag) == REFUSE, hex(flag)


@pytest.mark.parametrize("machine", AUDIT_NUMBERS)
def test_programs_for_other_machines_are_killed(machine):
    for other in (0x40000003, 0x40000028, *AUDIT_NUMBERS.values()):  # 32-bit x86 and ARM, too
        if other != AUDIT_NUMBERS[machine]:
            assert answer(machine, 5, audit_number=other) == KILL


@pytest.mark.parametrize("column, machine", MACHINES)
def test_numbers_are_those_that_libseccomp_knows(column, machine):
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("needs libseccomp (`apt install libseccomp2`)")
    audit_number = ctypes.c_uint32(AUDIT_NUMBERS[machine])
    for name, numbers in {**FORBIDDEN, "clone": CLONE, "clone3": CLONE3}.items():
        known = library.seccomp_syscall_resolve_name_arch(audit_number, name.encode())
        assert known in (numbers[column], -1), name  # -1: a library that is older than the call
        assert known != -1 or name == "memfd_secret", name


def test_a_machine_without_a_filter_is_told():
    with pytest.raises(AoeError, match="The sandbox is not made for riscv64; give it an image"):
        filter_program("riscv64")
