"""What sandboxed code may ask of the kernel: named grants, and the filter that they add up to.

A grant is a set of system calls, some only with certain arguments. A profile is a few grants;
every weakening of a policy adds one, and none takes anything away. So the order of grants means
nothing, and what a policy allows is the union of its parts.

What no grant allows is answered in one of four ways:

- A trap, which ends the call with NifSyscallDenied: the rule. It names the system call.
- The errno that says "not here", where code commonly asks for what it can do without: files get
  EACCES, threads EAGAIN, `ioctl` ENOTTY. `clone3` gets ENOSYS, as its flags are in memory where no
  filter can look; the C library then uses `clone`, whose flags are checked. Child processes get
  EPERM: the C library and Python start them with all signals blocked or with the heap locked, so
  that a trap would kill the process and name nothing.
- ENOSYS for numbers that have no name here, since a C library newer than aionif tries new calls
  first and falls back on the old ones.
- The end of the process, for calls through another machine's entry (`aionif/filters/bpf.py`).

No filter can follow a pointer: paths are left to Landlock, and what can't be told apart without
the memory behind a pointer is not granted. `newfstatat` with AT_EMPTY_PATH is `fstat` to some C
libraries, but a hostile caller may pass a path as well. So it is trapped, with a mark of its own,
and the core's handler calls `fstat` in its place (`csrc/faults/fstat.c`). `statx` is answered as
on kernels that do not have it, where all fall back on the others.
"""

from __future__ import annotations

from errno import EACCES, EAFNOSUPPORT, EAGAIN, EINVAL, ENOSYS, ENOTTY, EPERM
from typing import TYPE_CHECKING, Literal, NamedTuple

from aionif.filters.bpf import ALLOW, OWN_PID, Clause, Clauses, Test, compile_filter, errno, trap
from aionif.filters.syscalls import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionif.filters.bpf import Instruction
    from aionif.system.processor import Machine

__all__ = ("FSTAT", "GRANTS", "MARK", "NEEDED", "PROFILES", "Grant", "GrantName", "program_of")

MARK = 0x0A11
"""What si_errno says of a trap of these filters; AIONIF_SEAL_MARK of the core."""

FSTAT = trap(0x0A12)
"""The outcome of `newfstatat` without a path, which the handler answers; AIONIF_SEAL_FSTAT."""

GrantName = Literal[
    "base", "files", "code", "events", "threads", "writing", "network", "fork", "exec", "jit"
]

_INT = 0xFFFFFFFF  # the kernel looks at no more of an int
_POINTER = 0xFFFFFFFFFFFFFFFF

# asm-generic/mman-common.h, linux/sched.h, asm-generic/fcntl.h
_PROT_WRITE, _PROT_EXEC = 0x2, 0x4
_MAP_PRIVATE, _MAP_TYPE, _MAP_ANONYMOUS = 0x02, 0x0F, 0x20
_CLONE_THREAD = 0x10000
_CLONE_THREAD_OF_OURS = 0x100 | 0x800 | _CLONE_THREAD  # VM, SIGHAND
_CLONE_ELSE = 0x7E020000 | 0x2000 | 0x8000  # namespaces, PTRACE, PARENT
_OPENS_FOR_WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000  # ACCMODE, CREAT, TRUNC, TMPFILE
_AT_EMPTY_PATH = 0x1000

# linux/futex.h. Locks with priority inheritance name their owner, who may be in another process.
_FUTEX_OP = 0x7F
_FUTEX_OPS = (0, 1, 3, 4, 5, 9, 10)  # WAIT WAKE REQUEUE CMP_REQUEUE WAKE_OP and by bit sets

# linux/posix-timers.h. A clock of another process, or of a device, is a negative number.
_ON_CLOCKS = ("clock_gettime", "clock_getres", "clock_nanosleep", "timer_create")
_ELSES_CLOCK = 0xFFFFFFF0
_OWN_CLOCKS = (0xFFFFFFFA, 0xFFFFFFFE)  # of this process, this thread


def _all(outcome: int, text: str) -> dict[str, int]:
    return dict.fromkeys(text.split(), outcome)


def _names(text: str) -> dict[str, Clauses]:
    return dict.fromkeys(text.split(), (Clause(ALLOW),))


def _only(*tests: Test) -> Clauses:
    return (Clause(ALLOW, tests),)


def _one_of(argument: int, *values: int) -> Clauses:
    return tuple(Clause(ALLOW, (Test(argument, _INT, value),)) for value in values)


def _without(argument: int, bits: int) -> Test:
    return Test(argument, bits, 0)


def _with(argument: int, bits: int) -> Test:
    return Test(argument, bits, bits)


def _null(argument: int) -> Test:
    return Test(argument, _POINTER, 0)


def _own(argument: int) -> Test:
    return Test(argument, _INT, OWN_PID)


_A_THREAD = Test(0, _CLONE_THREAD_OF_OURS | _CLONE_ELSE, _CLONE_THREAD_OF_OURS)
_A_PROCESS = _without(0, _CLONE_THREAD | _CLONE_ELSE)


class Grant(NamedTuple):
    """Calls that are allowed, or that fail, and what others of the same name meet if not a trap."""

    allowed: dict[str, Clauses]
    otherwise: dict[str, int] = {}  # noqa: RUF012 - a NamedTuple's default, never changed


# What a computation needs: memory, its own signals and threads' locks, time, its own descriptors.
_BASE = Grant(
    {
        **_names("""
            brk munmap mremap madvise get_mempolicy
            futex_waitv futex_wait futex_wake futex_requeue membarrier rseq set_robust_list
            set_tid_address sched_yield getcpu
            sched_get_priority_max sched_get_priority_min
            exit exit_group restart_syscall
            getpid gettid getppid getuid geteuid getgid getegid getresuid getresgid getgroups
            getpgrp getrlimit getrusage times sysinfo uname getrandom
            rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigsuspend rt_sigtimedwait
            sigaltstack pause
            nanosleep gettimeofday time
            alarm getitimer setitimer
            timer_settime timer_gettime timer_getoverrun timer_delete
            read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek
            close close_range fstat dup dup2 dup3 poll ppoll select pselect6
        """),
        **dict.fromkeys(_ON_CLOCKS, (*_only(_without(0, _ELSES_CLOCK)), *_one_of(0, *_OWN_CLOCKS))),
        "futex": tuple(Clause(ALLOW, (Test(1, _FUTEX_OP, op),)) for op in _FUTEX_OPS),
        "sched_getaffinity": (*_only(Test(0, _INT, 0)), *_only(_own(0))),
        "mmap": _only(_without(2, _PROT_EXEC)),
        "mprotect": _only(_without(2, _PROT_EXEC)),
        "clone": (Clause(errno(EAGAIN), (_A_THREAD,)), Clause(errno(EPERM), (_A_PROCESS,))),
        "kill": _only(_own(0)),
        "tgkill": _only(_own(0)),
        "rt_sigqueueinfo": _only(_own(0)),
        "rt_tgsigqueueinfo": _only(_own(0)),
        "process_vm_readv": _only(_own(0)),  # the core's backtraces read a smashed stack with it
        "prlimit64": (
            Clause(ALLOW, (Test(0, _INT, 0), _null(2))),
            Clause(ALLOW, (_own(0), _null(2))),
        ),
        # GET_PDEATHSIG GET_DUMPABLE SET_NAME GET_NAME GET_SECCOMP CAPBSET_READ GET_NO_NEW_PRIVS
        # SET_VMA, by which malloc names its memory
        "prctl": _one_of(0, 2, 3, 15, 16, 21, 23, 39, 0x53564D41),
        # DUPFD GETFD SETFD GETFL SETFL DUPFD_CLOEXEC; not SETOWN, which aims signals at others
        "fcntl": _one_of(1, 0, 1, 2, 3, 4, 1030),
        "newfstatat": (Clause(FSTAT, (_with(3, _AT_EMPTY_PATH),)),),
    },
    {
        "fork": errno(EPERM),
        "vfork": errno(EPERM),
        "clone3": errno(ENOSYS),
        "openat2": errno(ENOSYS),
        "statx": errno(ENOSYS),
        "ioctl": errno(ENOTTY),
        "arch_prctl": errno(EINVAL),
        **dict.fromkeys(_ON_CLOCKS, errno(EINVAL)),
        "futex": errno(ENOSYS),  # as where a kernel has no priority inheritance
        "sched_getaffinity": errno(ENOSYS),  # which the C library takes for "not to be had"
        # Paths: as for files that one may not touch.
        **_all(
            errno(EACCES),
            """
            open openat creat stat lstat newfstatat access faccessat faccessat2
            readlink readlinkat getcwd chdir fchdir statfs
            mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat
            symlink symlinkat truncate mknod mknodat
            chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
            utime utimes utimensat futimesat
            setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr
            listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
            """,
        ),
        # Wishes about speed, which are common and may be refused anywhere.
        **_all(
            errno(EPERM),
            """
            sched_setaffinity sched_setscheduler sched_setparam sched_setattr setpriority
            ioprio_set mlock mlock2 mlockall munlock munlockall mbind set_mempolicy
            """,
        ),
    },
)

_FILES = Grant(
    {
        **_names("""
            stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat
            getcwd chdir fchdir umask getdents getdents64 statfs fstatfs fadvise64 readahead flock
        """),
        "open": _only(_without(1, _OPENS_FOR_WRITING)),
        "openat": _only(_without(2, _OPENS_FOR_WRITING)),
        "fcntl": _one_of(1, 5, 6, 7, 36, 37, 38),  # locks on files, of both kinds
        "ioctl": _one_of(1, 0x5450, 0x5451),  # FIONCLEX FIOCLEX
    }
)

# Extension modules. What is mapped is a file, privately, and never writable and executable at once.
_CODE = Grant(
    {"mmap": _only(_without(2, _PROT_WRITE), Test(3, _MAP_TYPE | _MAP_ANONYMOUS, _MAP_PRIVATE))}
)

# An event loop's inside. A stream's peer is fixed when it is made, so no sendto() goes elsewhere.
_EVENTS = Grant(
    {
        **_names("""
            epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
            eventfd eventfd2 pipe pipe2 timerfd_create timerfd_settime timerfd_gettime
            recvfrom recvmsg shutdown getsockname getpeername getsockopt
        """),
        "socketpair": _only(Test(0, _INT, 1), Test(1, 0xF, 1)),  # AF_UNIX, SOCK_STREAM
        "sendto": _only(_null(4)),
        "ioctl": _one_of(1, 0x541B, 0x5421),  # FIONREAD FIONBIO
    }
)

_THREADS = Grant({"clone": _only(_A_THREAD)})

_WRITING = Grant(
    _names("""
        open openat creat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2
        link linkat symlink symlinkat truncate ftruncate fallocate
        fsync fdatasync sync_file_range copy_file_range sendfile
    """)
)

_NETWORK = Grant(
    {
        **_names("""
            connect bind listen accept accept4 setsockopt sendto sendmsg sendmmsg recvmmsg
        """),
        "socket": tuple(
            Clause(ALLOW, (Test(0, _INT, family), Test(1, 0xF, kind)))
            for family in (2, 10)  # AF_INET AF_INET6
            for kind in (1, 2)  # SOCK_STREAM SOCK_DGRAM
        ),
    },
    {"socket": errno(EAFNOSUPPORT)},  # resolvers try AF_UNIX and AF_NETLINK, and go on
)

_FORK = Grant(
    {
        **_names("fork vfork wait4 waitid setpgid setsid getpgid getsid"),
        "clone": _only(_A_PROCESS),
    }
)

_EXEC = Grant(
    {
        **_names("execve execveat"),
        "arch_prctl": _one_of(0, 0x1002),  # SET_FS, with which a program starts
    }
)

_JIT = Grant(_names("mmap mprotect"))

GRANTS: dict[GrantName, Grant] = {
    "base": _BASE,
    "files": _FILES,
    "code": _CODE,
    "events": _EVENTS,
    "threads": _THREADS,
    "writing": _WRITING,
    "network": _NETWORK,
    "fork": _FORK,
    "exec": _EXEC,
    "jit": _JIT,
}

PROFILES: dict[str, tuple[GrantName, ...]] = {
    "compute": ("base",),
    "python": ("base", "files", "code", "events", "threads"),
}

# Without these a worker can neither serve a call nor report a crash.
NEEDED = frozenset(
    (  # noqa: SIM905 - ten lines of quotes would say no more
        "brk clock_gettime close exit exit_group futex getpid gettid mmap mprotect munmap read "
        "restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack tgkill write"
    ).split()
)


def program_of(
    machine: Machine,
    grants: Iterable[GrantName],
    allowed: Iterable[str] = (),
    denied: Iterable[str] = (),
) -> list[Instruction]:
    """Return the filter that the grants add up to.

    allowed: system calls allowed besides, whatever their arguments. denied: those that are trapped,
    whatever the grants say.
    """
    clauses: dict[str, list[Clause]] = {}
    otherwise: dict[str, int] = {}
    for grant in (*map(GRANTS.__getitem__, grants), Grant(_names(" ".join(allowed)))):
        for name, found in grant.allowed.items():
            clauses.setdefault(name, []).extend(found)
        otherwise |= grant.otherwise
    for name in denied:
        clauses.pop(name, None)
        otherwise.pop(name, None)
    table = {
        number: _settle(clauses.get(name, []), otherwise.get(name, trap(MARK)))
        for name, number in numbers(machine).items()
    }
    return compile_filter(machine, table, default=errno(ENOSYS))


def _settle(clauses: list[Clause], otherwise: int) -> Clauses:
    """Return the clauses of one system call, what allows before what does not."""
    if any(not clause.tests for clause in clauses):
        return (Clause(ALLOW),)
    return (*sorted(clauses, key=lambda clause: clause.outcome != ALLOW), Clause(otherwise))
