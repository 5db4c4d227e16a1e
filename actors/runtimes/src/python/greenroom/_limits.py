"""The limits of a worker, which it sets before it imports anything of a handler.

Resources are limited by ``setrlimit`` and a control group, files by Landlock, system calls by a filter of seccomp. Each
of the last two needs a kernel that has it; ``restrict`` returns the names of what is in effect.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_SECCOMP_MODE_FILTER = 2

_libc = ctypes.CDLL(None, use_errno=True)


def limit_resources(limits: dict[str, Any]) -> None:
    """Limit the resources of this process and its children."""
    if limits["cgroup"]:
        Path(limits["cgroup"], "cgroup.procs").write_text("0")
    wanted = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        # Without a namespace of users, the processes of the pod itself would be counted.
        (resource.RLIMIT_NPROC, limits["processes"]),
    ]
    for kind, value in wanted:
        if value is None:
            continue
        hard = resource.getrlimit(kind)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (bound, bound))


def restrict(limits: dict[str, Any]) -> list[str]:
    """Restrict files and system calls of this process and its children; return what is in effect."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return []
    in_effect = []
    if _restrict_files(limits):
        in_effect.append("files")
    # A process that no limit counts starts no other one.
    if _filter_calls(network=limits["network"], forks=limits["processes"] is not None):
        in_effect.append("calls")
    return in_effect


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent has ended, so that none is overlooked."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """End this process when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0)


# Landlock: include/uapi/linux/landlock.h. The numbers of its system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BY_VERSION = [(1, (1 << 13) - 1), (2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)]
_NETWORK_VERSION, _SCOPE_VERSION = 4, 6


class _Ruleset(ctypes.Structure):
    _fields_ = [("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64)]


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32)]


def _restrict_files(limits: dict[str, Any]) -> bool:
    """Permit only these folders; False if the kernel has no Landlock."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    handled = sum(bits for since, bits in _BY_VERSION if version >= since)
    # Without rules for ports, no TCP connection is possible; signals and abstract sockets stay within the worker.
    network = 3 if version >= _NETWORK_VERSION and not limits["network"] else 0
    scoped = 3 if version >= _SCOPE_VERSION else 0
    ruleset = _Ruleset(handled, network, scoped)
    size = 24 if scoped else 16 if version >= _NETWORK_VERSION else 8
    descriptor = _libc.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), ctypes.c_uint32(0))
    if descriptor < 0:
        return False
    try:
        paths = [(path, _READ) for path in limits["readable"]]
        paths += [(path, handled & ~_EXECUTE & ~_IOCTL_DEV) for path in limits["writable"]]
        permitted = all(_permit(descriptor, path, access & handled) for path, access in paths)
        return permitted and _libc.syscall(_RESTRICT_SELF, descriptor, ctypes.c_uint32(0)) == 0
    finally:
        os.close(descriptor)


def _permit(ruleset: int, path: str, access: int) -> bool:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # What does not exist needs no rule.
        return True
    try:
        allowed = access if Path(path).is_dir() else access & _OF_FILES
        rule = _PathRule(allowed, parent)
        return _libc.syscall(_ADD_RULE, ruleset, 1, ctypes.byref(rule), ctypes.c_uint32(0)) == 0
    finally:
        os.close(parent)


# Seccomp: include/uapi/linux/seccomp.h and include/uapi/linux/filter.h.
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_DENY, _NONE_LEFT, _UNKNOWN_CALL = _ERROR | errno.EACCES, _ERROR | errno.EAGAIN, _ERROR | errno.ENOSYS
_AF_INET, _AF_INET6 = 2, 10
#: The architecture, `socket`, `clone`, the other calls that fork, and those that would lead out of the limits: ptrace,
#: process_vm_readv, process_vm_writev, unshare, setns, mount, bpf, perf_event_open, add_key, request_key, keyctl,
#: userfaultfd, and those of io_uring, which opens sockets without `socket`.
_CALLS = {
    "x86_64": (
        0xC000003E,
        41,
        56,
        [57, 58],
        [101, 310, 311, 272, 308, 165, 321, 298, 248, 249, 250, 323, 425, 426, 427],
    ),
    "aarch64": (0xC00000B7, 198, 220, [], [117, 270, 271, 97, 268, 40, 280, 241, 217, 218, 219, 282, 425, 426, 427]),
}
#: The first number of the other calls of x86_64, those of the ABI x32.
_X32_CALLS = 0x40000000
#: The call that has its flags in memory, where no filter reads them; without it, `clone` is used.
_CLONE3 = 435
_CLONE_THREAD = 0x00010000


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction))]


def _filter_calls(*, network: bool, forks: bool) -> bool:
    """Deny sockets and what would lead out of the limits; False on an architecture that is not known here."""
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    architecture, socket, clone, forking, denied = known
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _DENY)]
    program += [(_LOAD, 0, 0, 0), (_AT_LEAST, 0, 1, _X32_CALLS), (_RETURN, 0, 0, _DENY)]
    for call in denied:
        program += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _DENY)]
    if not forks:
        for call in forking:
            program += [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, _NONE_LEFT)]
        program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _UNKNOWN_CALL)]
        program += [(_EQUAL, 0, 4, clone), (_LOAD, 0, 0, 16), (_HAS_BIT, 0, 1, _CLONE_THREAD)]
        program += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NONE_LEFT)]
    program += [(_EQUAL, 1, 0, socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 16)]
    for family in [_AF_INET, _AF_INET6] if network else []:
        program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    program += [(_RETURN, 0, 0, _DENY)]
    instructions = (_Instruction * len(program))(*program)
    bpf = _Program(len(program), instructions)
    return _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(bpf), 0, 0) == 0
