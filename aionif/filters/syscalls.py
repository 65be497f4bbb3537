"""Names and numbers of the system calls of Linux, as policies and reports use them.

The tables are the kernel's ABI: numbers are never reused, so they only grow at their end. A call
that a newer kernel added is shown by its number. Since 424 the numbers are the same everywhere.

Policies may name what either processor has: `open` is not a mistake on aarch64, there is only
nothing to allow. Reports and the thread tier's filters use the table of the processor they are on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionif.errors import NifArgumentError
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from aionif.system.processor import Machine

__all__ = ("LAST", "check_name", "name_of", "number_of", "numbers")

# In the order of their numbers, each list from the number it begins with.
_X86_64 = {
    0: """
        read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction
        rt_sigprocmask rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select
        sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep
        getitimer alarm setitimer getpid sendfile socket connect accept sendto recvfrom sendmsg
        recvmsg shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt
        clone fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget msgsnd
        msgrcv msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir
        fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown
        lchown umask gettimeofday getrlimit getrusage sysinfo times ptrace getuid syslog getgid
        setuid setgid geteuid getegid setpgid getppid getpgrp setsid setreuid setregid getgroups
        setgroups setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid
        capget capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack
        utime mknod uselib personality ustat statfs fstatfs sysfs getpriority setpriority
        sched_setparam sched_getparam sched_setscheduler sched_getscheduler
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval mlock munlock
        mlockall munlockall vhangup modify_ldt pivot_root _sysctl prctl arch_prctl adjtimex
        setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot sethostname
        setdomainname iopl ioperm create_module init_module delete_module get_kernel_syms
        query_module quotactl nfsservctl getpmsg putpmsg afs_syscall tuxcall security gettid
        readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr
        flistxattr removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity
        sched_getaffinity set_thread_area io_setup io_destroy io_getevents io_submit io_cancel
        get_thread_area lookup_dcookie epoll_create epoll_ctl_old epoll_wait_old
        remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64
        timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime
        clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes
        vserver mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive
        mq_notify mq_getsetattr kexec_load waitid add_key request_key keyctl ioprio_set
        ioprio_get inotify_init inotify_add_watch inotify_rm_watch migrate_pages openat mkdirat
        mknodat fchownat futimesat newfstatat unlinkat renameat linkat symlinkat readlinkat
        fchmodat faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice tee
        sync_file_range vmsplice move_pages utimensat epoll_pwait signalfd timerfd_create
        eventfd fallocate timerfd_settime timerfd_gettime accept4 signalfd4 eventfd2
        epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open
        recvmmsg fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at
        clock_adjtime syncfs sendmmsg setns getcpu process_vm_readv process_vm_writev kcmp
        finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create
        kexec_file_load bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2
        pwritev2 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq
    """,
}

_AARCH64 = {
    0: """
        io_setup io_destroy io_submit io_cancel io_getevents setxattr lsetxattr fsetxattr
        getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr
        lremovexattr fremovexattr getcwd lookup_dcookie eventfd2 epoll_create1 epoll_ctl
        epoll_pwait dup dup3 fcntl inotify_init1 inotify_add_watch inotify_rm_watch ioctl
        ioprio_set ioprio_get flock mknodat mkdirat unlinkat symlinkat linkat renameat
        umount2 mount pivot_root nfsservctl statfs fstatfs truncate ftruncate fallocate
        faccessat chdir fchdir chroot fchmod fchmodat fchownat fchown openat close vhangup
        pipe2 quotactl getdents64 lseek read write readv writev pread64 pwrite64 preadv
        pwritev sendfile pselect6 ppoll signalfd4 vmsplice splice tee readlinkat newfstatat
        fstat sync fsync fdatasync sync_file_range timerfd_create timerfd_settime
        timerfd_gettime utimensat acct capget capset personality exit exit_group waitid
        set_tid_address unshare futex set_robust_list get_robust_list nanosleep getitimer
        setitimer kexec_load init_module delete_module timer_create timer_gettime
        timer_getoverrun timer_settime timer_delete clock_settime clock_gettime
        clock_getres clock_nanosleep syslog ptrace sched_setparam sched_setscheduler
        sched_getscheduler sched_getparam sched_setaffinity sched_getaffinity sched_yield
        sched_get_priority_max sched_get_priority_min sched_rr_get_interval restart_syscall
        kill tkill tgkill sigaltstack rt_sigsuspend rt_sigaction rt_sigprocmask
        rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigreturn setpriority getpriority
        reboot setregid setgid setreuid setuid setresuid getresuid setresgid getresgid
        setfsuid setfsgid times setpgid getpgid getsid setsid getgroups setgroups uname
        sethostname setdomainname getrlimit setrlimit getrusage umask prctl getcpu
        gettimeofday settimeofday adjtimex getpid getppid getuid geteuid getgid getegid
        gettid sysinfo mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify
        mq_getsetattr msgget msgctl msgrcv msgsnd semget semctl semtimedop semop shmget
        shmctl shmat shmdt socket socketpair bind listen accept connect getsockname
        getpeername sendto recvfrom setsockopt getsockopt shutdown sendmsg recvmsg
        readahead brk munmap mremap add_key request_key keyctl clone execve mmap fadvise64
        swapon swapoff mprotect msync mlock munlock mlockall munlockall mincore madvise
        remap_file_pages mbind get_mempolicy set_mempolicy migrate_pages move_pages
        rt_tgsigqueueinfo perf_event_open accept4 recvmmsg
    """,
    260: """
        wait4 prlimit64 fanotify_init fanotify_mark name_to_handle_at open_by_handle_at
        clock_adjtime syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp
        finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create
        bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2
        pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq kexec_file_load
    """,
}

_COMMON = {
    424: """
        pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree
        move_mount fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2
        pidfd_getfd faccessat2 process_madvise epoll_pwait2 mount_setattr quotactl_fd
        landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
        process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2
        map_shadow_stack futex_wake futex_wait futex_requeue statmount listmount
        lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal setxattrat getxattrat
        listxattrat removexattrat open_tree_attr file_getattr file_setattr
    """,
}


def _number(*tables: dict[int, str]) -> dict[str, int]:
    return {
        name: first + index
        for table in tables
        for first, names in table.items()
        for index, name in enumerate(names.split())
    }


_NUMBERS: dict[Machine, dict[str, int]] = {
    "x86_64": _number(_X86_64, _COMMON),
    "aarch64": _number(_AARCH64, _COMMON),
}
_NAMES = {number: name for name, number in _NUMBERS[HERE.name].items()}

LAST = max(_NAMES)
"""The highest number that has a name here."""


def numbers(machine: Machine) -> dict[str, int]:
    """Return the numbers of a machine's system calls, by name."""
    return _NUMBERS[machine]


def name_of(number: int) -> str | None:
    """Return the name of a system call of this processor, or None where the table has none."""
    return _NAMES.get(number)


def number_of(name: str) -> int:
    """Return the number of the system call `name` of this processor.

    Raises:
        NifArgumentError: there is none of that name; a similar one is suggested.
    """
    _check(name, _NUMBERS[HERE.name], "deny_syscalls", f"system call of {HERE.name} Linux")
    return _NUMBERS[HERE.name][name]


def check_name(name: str, argument: str) -> None:
    """Raise NifArgumentError unless `name` is a system call of one of the machines."""
    _check(name, {**_NUMBERS["x86_64"], **_NUMBERS["aarch64"]}, argument, "system call of Linux")


def _check(name: str, known: dict[str, int], argument: str, what: str) -> None:
    if name in known:
        return
    from difflib import get_close_matches  # noqa: PLC0415 - only wanted for a typing error

    near = get_close_matches(str(name), known, n=1)
    raise NifArgumentError(
        argument=argument,
        value=name,
        problem=f"is not a {what}",
        remedy=f"Did you mean {near[0]!r}?" if near else "",
    )
