"""The filter of system calls of a worker: no sockets but those it may have, and nothing that leads out of its limits.

A rule decides one call: it is denied, or denied unless one of its arguments has one of some values. A call without a
rule is allowed. What the filter reads of an argument is its lower half, and the kernel reads no more of those here.
"""

from __future__ import annotations

import ctypes
import errno
import os

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
# include/uapi/linux/seccomp.h and include/uapi/linux/filter.h.
_LOAD, _AND, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERROR = 0x7FFF0000, 0x00050000
_DENY, _NONE_LEFT, _UNKNOWN_CALL = _ERROR | errno.EACCES, _ERROR | errno.EAGAIN, _ERROR | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

_Rule = list[tuple[int, ...]]

#: The architectures that are known here, as the kernel numbers them, and the column of their calls below.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
#: The first number of the other calls of x86_64, those of the ABI x32.
_X32_CALLS = 0x40000000

#: Calls that lead out of the limits: into other processes, into the kernel, to other mounts and namespaces, to memory
#: that no limit counts, and io_uring, which opens sockets without `socket`.
_FORBIDDEN: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}
#: Calls that reach other processes of the same user, which only a namespace of processes hides.
_TOWARDS_OTHERS: dict[str, tuple[int, int]] = {
    "tkill": (200, 130),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    # A process that leaves its group is not killed with it.
    "setsid": (112, 157),
    "setpgid": (109, 154),
}
#: The same, with the process as the first argument: itself is allowed, and 0 is itself unless the call is a signal.
_WITH_PROCESS: dict[str, tuple[int, int]] = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138),
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}
_SIGNALS = ("kill", "tgkill", "rt_sigqueueinfo")
#: `fork` and `vfork`, which only x86_64 has.
_FORKS = (57, 58)

_CLONE = (56, 220)
#: It has its flags in memory, where no filter reads them; without it, `clone` is used.
_CLONE3 = 435
_CLONE_THREAD = 0x00010000
#: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
_CLONE_NAMESPACES = 0x7E020000
_SOCKET, _SOCKETPAIR, _IOCTL = (41, 198), (53, 199), (16, 29)
_AF_INET, _AF_INET6 = 2, 10
_SOCK_STREAM, _SOCKET_TYPES = 1, 0xF
#: They type into the terminal of whoever has started the pod.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction))]


def filter_calls(*, network: bool, forks: bool, alone: bool) -> bool:
    """Set the filter; return whether it is in effect, which it is not on an architecture that is not known here.

    ``network`` allows sockets of IPv4 and IPv6, ``forks`` allows processes. ``alone`` says that a namespace hides other
    processes from this one.
    """
    known = _ARCHITECTURES.get(os.uname().machine)
    if known is None:
        return False
    program = _program(*known, network=network, forks=forks, alone=alone)
    instructions = (_Instruction * len(program))(*program)
    bpf = _Program(len(program), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(bpf), 0, 0) == 0


def _program(architecture: int, column: int, *, network: bool, forks: bool, alone: bool) -> _Rule:
    program: _Rule = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _DENY)]
    program += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32_CALLS), (_RETURN, 0, 0, _DENY)]
    denied = {**_FORBIDDEN, **({} if alone else _TOWARDS_OTHERS)}
    for numbers in denied.values():
        program += _deny(numbers[column], _DENY)
    if not alone:
        process = os.getpid()
        for name, numbers in _WITH_PROCESS.items():
            program += _only(numbers[column], 0, [process] if name in _SIGNALS else [0, process])
    if not forks and column == 0:
        for number in _FORKS:
            program += _deny(number, _NONE_LEFT)
    program += _deny(_CLONE3, _UNKNOWN_CALL)
    clone: _Rule = [(_HAS_BIT, 0, 1, _CLONE_NAMESPACES), (_RETURN, 0, 0, _DENY)]
    if not forks:
        clone += [(_HAS_BIT, 1, 0, _CLONE_THREAD), (_RETURN, 0, 0, _NONE_LEFT)]
    program += _rule(_CLONE[column], 0, [*clone, (_RETURN, 0, 0, _ALLOW)])
    terminal = [(_EQUAL, 1, 0, _TIOCSTI), (_EQUAL, 0, 1, _TIOCLINUX), (_RETURN, 0, 0, _DENY), (_RETURN, 0, 0, _ALLOW)]
    program += _rule(_IOCTL[column], 1, terminal)
    # A pair of datagram sockets can be connected to a socket of another process.
    pair = [(_AND, 0, 0, _SOCKET_TYPES), (_EQUAL, 0, 1, _SOCK_STREAM), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _DENY)]
    program += _rule(_SOCKETPAIR[column], 1, pair)
    program += _only(_SOCKET[column], 0, [_AF_INET, _AF_INET6] if network else [])
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _deny(call: int, error: int) -> _Rule:
    return [(_EQUAL, 0, 1, call), (_RETURN, 0, 0, error)]


def _only(call: int, argument: int, values: list[int]) -> _Rule:
    """Deny a call unless an argument is one of these values."""
    allowed = [step for value in values for step in ((_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW))]
    return _rule(call, argument, [*allowed, (_RETURN, 0, 0, _DENY)])


def _rule(call: int, argument: int, steps: _Rule) -> _Rule:
    """Decide a call by steps, each path of which returns, over one of its arguments."""
    body = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), *steps]
    return [(_EQUAL, 0, len(body), call), *body]
