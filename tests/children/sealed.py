"""Programs that seal themselves, and then try what they may not do.

    sealed.py SCENE [ARGUMENT...]

What a scene prints is what came of it. Everything that is needed after the seal is loaded before.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import json
import os
import random
import resource
import socket
import sqlite3
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from aionif import errors
from aionif.filters.bpf import ALLOW, Clause, Instruction, compile_filter, encode
from aionif.filters.bpf import errno as fails_with
from aionif.filters.syscalls import number_of
from aionif.limits import NifLimits
from aionif.sandbox import Sandbox
from aionif.sealing import seal as sealing
from aionif.sealing.seal import SealReport, apply_seal, compile_seal
from tests.children import forbidden, hogs, workloads

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
MIB = 1 << 20

libc = ctypes.CDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long


def become(user: str) -> None:
    if user == "nobody":
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def seal(policy: Sandbox) -> SealReport:
    report = apply_seal(compile_seal(policy))
    assert report.is_sealed, report
    return report


def show(*what: object) -> None:
    os.write(1, (" ".join(map(str, what)) + "\n").encode())


def outcome(name: str, *arguments: Any) -> str:
    """Make a system call in a native call and say what came of it."""
    ctypes.set_errno(0)
    try:
        result = aionif.call_nif(syscall, ctypes.c_long(number_of(name)), *arguments)
    except errors.NifSyscallDenied as error:
        return f"denied {error.name}"
    if result == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "done"


NAMES = {"NifLimits": NifLimits, "Sandbox": Sandbox}

POLICIES: dict[str, Callable[[], Sandbox]] = {
    "compute": Sandbox.compute,
    "python": Sandbox.python,
}


def attempts(profile: str, user: str) -> None:
    """Everything forbidden, one after another, in one process that goes on."""
    become(user)
    tried = [attempt for attempt in forbidden.attempts() if attempt.expected(profile)]
    seal(POLICIES[profile]())
    for attempt in tried:
        show(outcome(attempt.call, *map(as_word, attempt.arguments)))
    show("alive", aionif.call_nif(libc.abs, -3))


def as_word(value: object) -> object:
    return ctypes.c_long(value) if isinstance(value, int) else value


def warm_up() -> None:
    """Raise and show an error of each kind once: what that imports is loaded then."""
    aionif.call_nif(libc.abs, 1)
    try:
        aionif.call_nif(libc.strlen, ctypes.c_void_p(16))
    except aionif.NifSignal as error:
        str(error)


def outside(name: str) -> None:
    """The same outside a native call, where nothing is to be recovered."""
    seal(Sandbox.compute())
    show("sealed")
    acts: dict[str, Callable[[], object]] = {
        "socket": socket.socket,
        "getpgid": lambda: os.getpgid(0),
        "kill": lambda: os.kill(os.getppid(), 0),
    }
    acts[name]()
    show("survived")


def computing(user: str) -> None:
    """What a native function does all day."""
    become(user)
    database = sqlite3.connect(":memory:")
    seal(Sandbox.compute())
    packed = zlib.compress(bytes(5 * MIB))
    show("zlib", len(zlib.decompress(packed)) // MIB)
    database.execute("create table t (x)")
    database.executemany("insert into t values (?)", ((i,) for i in range(1000)))
    show("sqlite", *next(iter(database.execute("select count(*), sum(x) from t"))))
    show("malloc", sum(len(bytearray(8 * MIB)) for _ in range(8)) // MIB)
    libc.malloc.restype = ctypes.c_void_p
    blocks = [aionif.call_nif(libc.malloc, ctypes.c_size_t(size)) for size in (10, 10**5, 10**7)]
    show("native malloc", all(blocks))
    show("sha256", hashlib.sha256(b"x" * MIB).hexdigest()[:8])
    show("random", len(os.urandom(8)), 0 <= random.random() < 1)
    show("helpers", os.system("true"), aionif.call_nif(libc.fork))
    time.sleep(0.001)
    show("clock", time.monotonic() > 0, json.dumps({"pid": os.getpid() > 0}))


def threads(policy: str) -> None:
    seal(POLICIES.get(policy, Sandbox.compute().allow_threads)())
    try:
        thread = threading.Thread(target=show, args=["in a thread"])
        thread.start()
        thread.join()
    except RuntimeError as error:
        show(error)


def python(directory: str, user: str) -> None:
    """Reads where it may, imports what was not loaded, writes nothing, runs an event loop."""
    become(user)
    seal(Sandbox.python().allow_read(directory))
    with open(f"{directory}/readable") as file:  # noqa: PTH123
        show(file.read())
    for path, mode in ((f"{directory}/readable", "w"), ("/etc/passwd", "r")):
        try:
            open(path, mode)  # noqa: PTH123, SIM115
        except PermissionError as error:
            show(errno.errorcode[error.errno or 0], mode)
    asyncio.run(asyncio.sleep(0.001))
    show("asyncio")
    if user != "nobody":  # an interpreter in root's home can't be read by others
        import _lsprof  # an extension module
        import colorsys  # a module in Python
        import wave  # noqa: F401 - with modules of its own

        show("imported", colorsys.rgb_to_hls(0, 0, 0), _lsprof.__name__)


def writing(directory: str) -> None:
    seal(Sandbox.compute().allow_write(directory))
    path = f"{directory}/new"
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: open(path, "w").close(),  # noqa: PTH123
        "rename": lambda: os.rename(path, path + "er"),  # noqa: PTH104
        "truncate": lambda: os.truncate(path + "er", 10),
        "remove": lambda: os.remove(path + "er"),  # noqa: PTH107
        "write elsewhere": lambda: open(f"{directory}/../other", "w"),  # noqa: PTH123, SIM115
        "rename out": lambda: os.rename(f"{directory}/kept", f"{directory}/../kept"),  # noqa: PTH104
        "truncate elsewhere": lambda: os.truncate(f"{directory}/../untouched", 0),
        "read elsewhere": lambda: open(f"{directory}/../untouched"),  # noqa: PTH123, SIM115
    }
    for name, act in acts.items():
        try:
            act()
        except OSError as error:
            show(name, errno.errorcode[error.errno or 0])
        else:
            show(name, "done")


def programs() -> None:
    """A shell under the sandbox: it runs, and what it does is confined."""
    libraries = ("/lib", "/lib64", "/usr/lib", "/etc/ld.so.cache")
    policy = Sandbox.compute().allow_read(*libraries).allow_exec("/bin/sh", "/usr/bin/cat")
    seal(policy)
    for command in ("exit 7", "cat /etc/passwd", "ls /"):
        child = os.fork()
        if child == 0:
            os.execv("/bin/sh", ["sh", "-c", command])
        show(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def network() -> None:
    seal(Sandbox.compute().allow_network())
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.socket()
    client.connect(server.getsockname())
    other, _ = server.accept()
    client.send(b"hello")
    show(other.recv(9).decode())
    try:
        socket.socket(socket.AF_UNIX)
    except OSError as error:
        show(errno.errorcode[error.errno or 0])


def executable() -> None:
    seal(Sandbox.compute().allow_executable_memory().allow_syscalls("getppid", "memfd_create"))
    show(outcome("mmap", None, *map(ctypes.c_long, (4096, 7, 0x22, -1, 0))))
    show(outcome("memfd_create", b"x", ctypes.c_long(0)))


def denying() -> None:
    seal(Sandbox.python().deny_syscalls("uname", "getdents64"))
    show(outcome("uname", ctypes.create_string_buffer(4096)))
    show(outcome("getdents64", None))


def looking() -> None:
    """What is open may be looked at, by whatever call the C library makes fstat() of."""
    path, empty_path, buffer = b"", 0x1000, ctypes.create_string_buffer(256)
    file = os.memfd_create("seen")
    os.truncate(file, 12345)
    seal(Sandbox.compute().allow_threads().allow_fork())
    show(os.fstat(file).st_size)
    for at, name in ((file, path), (file, None), (file, ctypes.c_void_p(16)), (99, path)):
        show(outcome("newfstatat", ctypes.c_long(at), name, buffer, ctypes.c_long(empty_path)))
    show(outcome("newfstatat", ctypes.c_long(file), path, None, ctypes.c_long(empty_path)))
    sizes: list[int] = []
    thread = threading.Thread(target=lambda: sizes.append(os.fstat(file).st_size))
    thread.start()
    thread.join()
    show(*sizes)
    child = os.fork()
    if child == 0:
        os._exit(os.fstat(file).st_size == 12345)
    show(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        os.stat("/etc/passwd")  # noqa: PTH116 - the call itself
    except PermissionError:
        show("refused")


# ---- limits ----


def limit(name: str, value: str, act: str, user: str) -> None:
    """Run into one limit; how the process ends is for the caller to see."""
    become(user)
    file = os.memfd_create("grows")
    seal(Sandbox.compute(limits=NifLimits(**{name: int(value)})))
    show("sealed")
    hogs.ACTS[act](file)


# ---- what is missing ----


def refuse(calls: str, number: int) -> None:
    """Make some system calls answer with an errno, as an old kernel or a container would."""
    table = {number_of(name): (Clause(fails_with(number)),) for name in calls.split(",")}
    code: list[Instruction] = compile_filter("x86_64", table, ALLOW)
    install = aionif.core.native.lib.aionif_seal
    bare = sealing.pack_seal(code)
    bare.wanted = aionif.core.native.lib.AIONIF_SEAL_FILTER
    result = aionif.core.native.ffi.new("struct aionif_seal_result *")
    assert encode(code)
    assert install(bare, result)


def lacking(calls: str, error: str, policy: str, user: str) -> None:
    """Print the report of a seal where these calls do not work."""
    become(user)
    if calls:
        refuse(calls, getattr(errno, error))
    made: Sandbox = eval(policy, NAMES)
    try:
        report = aionif.seal_process(made)
    except aionif.NifRejected as refused:
        show("refused", refused.reason)
        return
    show("applied", ", ".join(report.applied))
    show("missing", ", ".join(report.missing))
    for note in report.notes:
        show("note", note)
    sealing.log_missing(report.missing, "")  # it was logged before


def with_threads() -> None:
    """A second thread cannot be confined by Landlock; the filter reaches it."""
    asked, answers = threading.Event(), []

    def other() -> None:
        asked.wait()
        answers.append(outcome("getpgid", ctypes.c_long(0)))

    thread = threading.Thread(target=other)
    thread.start()
    report = apply_seal(compile_seal(Sandbox.compute(mode="best_effort")))
    show(report.is_sealed, "filter" in report.applied, "files" in report.missing)
    show(report.notes[0])
    asked.set()
    thread.join()
    show(*answers)


def namespaces() -> list[Path]:
    return [Path("/proc/self/ns", name).readlink() for name in ("user", "net", "ipc")]


def privileges(policy: str, user: str) -> None:
    """What the kernel says of a process once it is sealed."""
    become(user)
    made: Sandbox = eval(policy, NAMES)
    status = os.open("/proc/self/status", os.O_RDONLY)
    core = resource.getrlimit(resource.RLIMIT_CORE)
    before = namespaces()
    report = seal(made)
    wanted = ("CapEff", "CapPrm", "NoNewPrivs", "Seccomp")
    for line in os.pread(status, 1 << 16, 0).decode().splitlines():
        if line.split(":")[0] in wanted:
            show(*line.split())
    show("core", resource.getrlimit(resource.RLIMIT_CORE)[0], core[0] >= 0, "uid", os.getuid())
    if "files" in made.granted:
        after = namespaces()
        show("changed", *(a != b for a, b in zip(before, after, strict=True)))
    show("missing", *report.missing)


def workload(policy: str, name: str, *arguments: str) -> None:
    """A workload under the policy that was learnt from it."""
    act = getattr(workloads, name)
    seal(eval(policy, NAMES))
    act(*arguments)
    show("worked")


def learn_twice() -> None:
    """Only one filter may ask; a container may have it already."""
    refuse("seccomp", errno.EBUSY)
    try:
        aionif.learn_sandbox(workloads.compute, timeout=30)
    except aionif.NifRejected as error:
        show("refused", type(error).__name__, "can't be watched" in str(error))


def unsound() -> None:
    """Seals that no compiler made; nothing of them is applied."""
    ffi = aionif.core.native.ffi
    good = compile_seal(Sandbox.compute())
    room = ffi.new("struct aionif_seal *")
    ffi.memmove(room, good, len(good))
    room.own_pids[0] = room.code_length
    bad = [b"", good[:100], b"\xff" * len(good), good[:4] + b"\xff" * (len(good) - 4)]
    for seal in (*bad, bytes(ffi.buffer(room))):
        report = apply_seal(seal)
        show(report.is_sealed, len(report.applied), *report.notes)
    os.getpgid(0)  # which the profile denies


if __name__ == "__main__":
    scene, *rest = sys.argv[1:]
    warm_up()
    globals()[scene](*rest)
