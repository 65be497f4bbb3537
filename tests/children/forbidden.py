"""What sealed code must not do: each attempt as a raw system call, and what must come of it."""

from __future__ import annotations

import ctypes
import os
from typing import Any, NamedTuple

DENIED = "denied"  # a trap: NifSyscallDenied, with the system call's name


class Attempt(NamedTuple):
    """One system call. compute, python: what it meets under the profile; None: not tried."""

    title: str
    call: str
    arguments: tuple[Any, ...] = ()
    compute: str | None = DENIED
    python: str | None = DENIED

    def expected(self, profile: str) -> str | None:
        found = self.compute if profile == "compute" else self.python
        return f"denied {self.call}" if found == DENIED else found


_SAME = ("EACCES", "EACCES")
_NO_CHILD = ("EPERM", "EPERM")
_BAD = ("EINVAL", "EINVAL")
_MISSING = ("ENOSYS", "ENOSYS")
_UNSEEN = ("EACCES", None)  # the python profile looks at files
_FILE = b"/etc/passwd"
_NEW = b"/tmp/aionif-must-not-appear"
_HERE = -100  # AT_FDCWD
_MEMORY = ctypes.create_string_buffer(4096)
_ZEROS = ctypes.addressof(_MEMORY)
_THREAD_FLAGS = 0x3D0F00  # what pthread_create passes


def attempts() -> tuple[Attempt, ...]:
    """Return all attempts; the process ids in them are those of the calling process."""
    me, parent = os.getpid(), os.getppid()
    return (
        *_programs(me, parent),
        *_memory(),
        *_network(),
        *_system(),
        *_files(),
    )


def _programs(me: int, parent: int) -> tuple[Attempt, ...]:
    return (
        Attempt("start a program", "execve", (b"/bin/true", None, None)),
        Attempt("start a program by descriptor", "execveat", (_HERE, b"/bin/true", None, None, 0)),
        Attempt("fork", "fork", (), *_NO_CHILD),
        Attempt("vfork", "vfork", (), *_NO_CHILD),
        Attempt("fork by clone", "clone", (17,), *_NO_CHILD),
        Attempt("spawn by clone", "clone", (0x4111,), *_NO_CHILD),
        Attempt("new user namespace by clone", "clone", (0x10000011, None, None, None, None)),
        Attempt("fork by clone3", "clone3", (_ZEROS, 88), "ENOSYS", "ENOSYS"),
        Attempt("start a thread", "clone", (_THREAD_FLAGS, None, None, None), "EAGAIN", None),
        Attempt("be traced", "ptrace", (0, 0, 0, 0)),
        Attempt("trace the parent", "ptrace", (16, parent, 0, 0)),
        Attempt("signal the parent", "kill", (parent, 0)),
        Attempt("signal the group", "kill", (0, 0)),
        Attempt("signal everyone", "kill", (-1, 0)),
        Attempt("signal a thread of the parent", "tgkill", (parent, parent, 0)),
        Attempt("signal any thread", "tkill", (parent, 0)),
        Attempt("queue a signal to the parent", "rt_sigqueueinfo", (parent, 0, _ZEROS)),
        Attempt("get a handle on the parent", "pidfd_open", (parent, 0)),
        Attempt("signal by handle", "pidfd_send_signal", (0, 0, None, 0)),
        Attempt("read the parent's memory", "process_vm_readv", (parent, None, 0, None, 0, 0)),
        Attempt("write own memory the long way", "process_vm_writev", (me, None, 0, None, 0, 0)),
        Attempt("change own limits", "prlimit64", (0, 7, _ZEROS, None)),
        Attempt("read the parent's limits", "prlimit64", (parent, 7, None, _ZEROS)),
        Attempt("change limits the old way", "setrlimit", (7, _ZEROS)),
        Attempt("read the parent's clock", "clock_gettime", (~parent << 3 | 2, _ZEROS), *_BAD),
        Attempt(
            "time by the parent's clock", "timer_create", (~parent << 3 | 2, None, _ZEROS), *_BAD
        ),
        Attempt(
            "read the parent's processors", "sched_getaffinity", (parent, 8, _ZEROS), *_MISSING
        ),
        Attempt("wait for a lock of another's", "futex", (_ZEROS, 6, 0, None), *_MISSING),
        Attempt("aim signals at others", "fcntl", (0, 8, parent)),
        Attempt("choose processors", "sched_setaffinity", (0, 8, _ZEROS), "EPERM", "EPERM"),
    )


def _memory() -> tuple[Attempt, ...]:
    return (
        Attempt("map executable memory", "mmap", (None, 4096, 7, 0x22, -1, 0)),
        Attempt("map code that is not writable", "mmap", (None, 4096, 5, 0x22, -1, 0)),
        Attempt("map shared code", "mmap", (None, 4096, 5, 0x01, 0, 0)),
        Attempt("make memory executable", "mprotect", (_ZEROS, 4096, 7)),
        Attempt("make memory executable by key", "pkey_mprotect", (_ZEROS, 4096, 7, -1)),
        Attempt("make a file in memory", "memfd_create", (b"x", 0)),
        Attempt("handle faults oneself", "userfaultfd", (0,)),
        Attempt("share memory", "shmget", (0, 4096, 0o1600)),
        Attempt("advise another process", "process_madvise", (0, None, 0, 0, 0)),
        Attempt("lock memory", "mlock", (_ZEROS, 4096), "EPERM", "EPERM"),
    )


def _network() -> tuple[Attempt, ...]:
    return (
        Attempt("open a TCP socket", "socket", (2, 1, 0)),
        Attempt("open a local socket", "socket", (1, 1, 0)),
        Attempt("open a raw socket", "socket", (2, 3, 1)),
        Attempt("talk to the kernel's router", "socket", (16, 3, 0)),
        Attempt("connect", "connect", (0, _ZEROS, 16)),
        Attempt("listen", "listen", (0, 1)),
        Attempt("send to an address", "sendto", (0, _ZEROS, 1, 0, _ZEROS, 16)),
        Attempt("send a message, and descriptors", "sendmsg", (0, _ZEROS, 0)),
        Attempt("make a pair that can send anywhere", "socketpair", (1, 2, 0, _ZEROS)),
        Attempt("queue messages", "msgget", (0, 0o1600)),
        Attempt("queue POSIX messages", "mq_open", (b"/x", 0o102, 0o600, None)),
    )


def _system() -> tuple[Attempt, ...]:
    return (
        Attempt("load BPF", "bpf", (0, None, 0)),
        Attempt("use io_uring", "io_uring_setup", (1, _ZEROS)),
        Attempt("count events", "perf_event_open", (_ZEROS, 0, -1, -1, 0)),
        Attempt("mount", "mount", (b"none", b"/mnt", b"tmpfs", 0, None)),
        Attempt("unmount", "umount2", (b"/mnt", 0)),
        Attempt("mount the new way", "fsopen", (b"tmpfs", 0)),
        Attempt("change the root", "chroot", (b"/",)),
        Attempt("leave namespaces", "unshare", (0x10000000,)),
        Attempt("join namespaces", "setns", (0, 0)),
        Attempt("add a filter", "seccomp", (1, 0, None)),
        Attempt("add a filter the old way", "prctl", (22, 2, None, 0, 0)),
        Attempt("become dumpable", "prctl", (4, 1, 0, 0, 0)),
        Attempt("add rules", "landlock_create_ruleset", (None, 0, 1)),
        Attempt("become root", "setuid", (0,)),
        Attempt("become root for good", "setresuid", (0, 0, 0)),
        Attempt("take capabilities", "capset", (_ZEROS, None)),
        Attempt("use keys", "keyctl", (0, -3, 0)),
        Attempt("load a module", "init_module", (None, 0, b"")),
        Attempt("load another kernel", "kexec_load", (0, 0, None, 0)),
        Attempt("restart the machine", "reboot", (0, 0, 0, None)),
        Attempt("set the clock", "clock_settime", (0, _ZEROS)),
        Attempt("rename the machine", "sethostname", (b"x", 1)),
        Attempt("use ports", "iopl", (3,)),
        Attempt("change personality", "personality", (0x0040000,)),
        Attempt("change a segment", "arch_prctl", (0x1001, 0), "EINVAL", "EINVAL"),
        Attempt("type into the terminal", "ioctl", (0, 0x5412, b"x"), "ENOTTY", "ENOTTY"),
        Attempt("watch files", "inotify_init1", (0,)),
        Attempt("watch everything", "fanotify_init", (0, 0)),
        Attempt("read the kernel's log", "syslog", (3, _ZEROS, 10)),
        Attempt("compare processes", "kcmp", (0, 0, 0, 0, 0)),
    )


def _files() -> tuple[Attempt, ...]:
    return (
        Attempt("read a file", "openat", (_HERE, _FILE, 0), *_SAME),
        Attempt("read a file the old way", "open", (_FILE, 0), *_SAME),
        Attempt(
            "read a file the new way", "openat2", (_HERE, _FILE, _ZEROS, 24), "ENOSYS", "ENOSYS"
        ),
        Attempt("list a directory", "openat", (_HERE, b"/etc", 0o200000), *_SAME),
        Attempt("make a file", "openat", (_HERE, _NEW, 0o101, 0o600), *_SAME),
        Attempt("make a nameless file", "openat", (_HERE, b"/tmp", 0o20200002, 0o600), *_SAME),
        Attempt("make a file the old way", "creat", (_NEW, 0o600), *_SAME),
        Attempt("append to a file", "openat", (_HERE, _FILE, 0o2001), *_SAME),
        Attempt("make a directory", "mkdir", (_NEW, 0o700), *_SAME),
        Attempt("remove a file", "unlink", (_NEW,), *_SAME),
        Attempt("rename a file", "rename", (_NEW, _NEW + b"2"), *_SAME),
        Attempt("link a file", "link", (_FILE, _NEW), *_SAME),
        Attempt("make a symbolic link", "symlink", (_FILE, _NEW), *_SAME),
        Attempt("make a device", "mknod", (_NEW, 0o20600, 0x103), *_SAME),
        Attempt("truncate a file", "truncate", (_FILE, 0), *_SAME),
        Attempt("change a mode", "chmod", (_FILE, 0o777), *_SAME),
        Attempt("change an owner", "chown", (_FILE, 0, 0), *_SAME),
        Attempt("change times", "utimensat", (_HERE, _FILE, None, 0), *_SAME),
        Attempt("set an attribute", "setxattr", (_FILE, b"user.x", b"", 0, 0), *_SAME),
        *_looks(),
        Attempt("change an open file's size", "ftruncate", (1, 0)),
        Attempt("open by handle", "open_by_handle_at", (0, _ZEROS, 0)),
    )


def _looks() -> tuple[Attempt, ...]:
    """Whether a file exists, and how large it is, by all ways that name one."""
    empty_path, only_a_path = 0x1000, 0o10000000
    return (
        Attempt("look at a file", "newfstatat", (_HERE, _FILE, _ZEROS, 0), *_UNSEEN),
        Attempt("as if by descriptor", "newfstatat", (_HERE, _FILE, _ZEROS, empty_path), *_UNSEEN),
        Attempt("from a descriptor", "newfstatat", (0, _FILE[1:], _ZEROS, empty_path), *_UNSEEN),
        Attempt("look the old way", "stat", (_FILE, _ZEROS), *_UNSEEN),
        Attempt("look at a link", "lstat", (b"/proc/self/exe", _ZEROS), *_UNSEEN),
        Attempt("look the new way", "statx", (_HERE, _FILE, 0, 0x7FF, _ZEROS), "ENOSYS", None),
        Attempt(
            "the new way, as if by descriptor",
            "statx",
            (_HERE, _FILE, empty_path, 0x7FF, _ZEROS),
            "ENOSYS",
            None,
        ),
        Attempt("ask for access", "access", (_FILE, 0), *_UNSEEN),
        Attempt("ask for access from here", "faccessat", (_HERE, _FILE, 0), *_UNSEEN),
        Attempt("ask with flags", "faccessat2", (_HERE, _FILE, 0, empty_path), *_UNSEEN),
        Attempt("read a link", "readlink", (b"/proc/self/exe", _ZEROS, 4096), *_UNSEEN),
        Attempt("read it from here", "readlinkat", (_HERE, b"/bin", _ZEROS, 4096), *_UNSEEN),
        Attempt("open a path alone", "openat", (_HERE, _FILE, only_a_path), *_UNSEEN),
        Attempt("look at its file system", "statfs", (_FILE, _ZEROS), *_UNSEEN),
        Attempt("go to a directory", "chdir", (b"/etc",), *_UNSEEN),
        Attempt("read an attribute", "getxattr", (_FILE, b"user.x", None, 0), *_SAME),
        Attempt("list attributes", "listxattr", (_FILE, None, 0), *_SAME),
        Attempt("get a handle", "name_to_handle_at", (_HERE, _FILE, _ZEROS, _ZEROS + 64, 0)),
        Attempt("watch one file", "inotify_add_watch", (0, _FILE, 0x1)),
        Attempt("mark one file", "fanotify_mark", (0, 1, 0x1, _HERE, _FILE)),
        Attempt("clone a tree", "open_tree", (_HERE, _FILE, 0)),
    )
