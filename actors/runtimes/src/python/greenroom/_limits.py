"""The limits of a worker, which it sets before it imports anything of a handler.

Resources are limited by ``setrlimit`` and a control group, files by Landlock, system calls by a filter of seccomp
(``_calls``). Each of the last two needs a kernel that has it; ``restrict`` returns the names of what is in effect.
"""

from __future__ import annotations

import ctypes
import os
import resource
from pathlib import Path
from typing import Any

from greenroom._calls import filter_calls

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_CHILD_SUBREAPER = 36
#: Descriptors that are closed at the start, on a kernel that closes them one by one.
_DESCRIPTORS_MAX = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def close_inherited() -> None:
    """Close every descriptor but the standard ones: the pod may have inherited some that it does not know."""
    opened = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    os.closerange(3, _DESCRIPTORS_MAX if opened == resource.RLIM_INFINITY else min(opened, _DESCRIPTORS_MAX))


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
    _drop_capabilities()
    in_effect = []
    if _restrict_files(limits):
        in_effect.append("files")
    # A process that no limit counts starts no other one.
    forks = limits["processes"] is not None
    if filter_calls(network=limits["network"], forks=forks, alone=limits["namespaces"]):
        in_effect.append("calls")
    return in_effect


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("process", ctypes.c_int)]


def _drop_capabilities() -> None:
    """Drop the capabilities that a process of root has without a namespace of users."""
    header, none = _CapabilityHeader(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _libc.capset(ctypes.byref(header), ctypes.byref(none))


def set_readable(*, readable: bool) -> None:
    """Let other processes of the same user read and write the memory of this one, or prevent it."""
    _libc.prctl(_PR_SET_DUMPABLE, int(readable), 0, 0, 0)


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
