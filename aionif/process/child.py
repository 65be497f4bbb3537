"""The zygote, and the worker processes it forks: run as a script, never imported by the parent.

The zygote is a fresh interpreter with the compiled core and little else, and one thread. It reads
orders from its socket, each with the descriptors of one worker, and forks. A worker sets itself up
(modules, initializer, libraries), seals itself as its policy says, then serves its lane in C.
Native calls do not enter Python; a Python callable is one native function, `_run`, which does.

The zygote passes on what its workers write to stderr (child_stderr), keeps the end of it, and tells
the parent how each of them ended. It ends with the parent, and its workers end with it.

Nothing of the package is imported here, as that would import anyio and more into every worker.
Arguments: the core's file, the window's address and size, the parent's `sys.path` as JSON.
"""

from __future__ import annotations

import errno
import importlib.machinery
import importlib.util
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any, NoReturn

__all__ = ()

SOCKET, CATALOG, STDERR = 3, 4, 5  # descriptors
ORDER = struct.Struct("<Qi4x")  # struct order of csrc/processes/zygote.c
DESCRIPTORS = 5  # that come with the order of a worker
NEWS = struct.Struct("<QiiiI")  # struct news
STARTED, ENDED, NOT_STARTED, READY, LOST = 1, 2, 3, 4, 5
TAIL = 4096 - NEWS.size  # bytes of stderr that go with the news of a worker's end
CHUNK = 65536
_MOST = (1 << 31) - 1
_BETWEEN = 1.0  # seconds between two words about stderr that was lost
_EXPENDABLE = 500  # of 1000: half of all memory, which the kernel adds to what a worker uses


def _load_core(path: str) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("aionif._core", path)
    spec = importlib.util.spec_from_file_location("aionif._core", path, loader=loader)
    core = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    loader.exec_module(core)
    sys.modules["aionif._core"] = core  # for a worker that imports the package after all
    return core


class _Worker:
    """A worker as the zygote knows it."""

    def __init__(self, serial: int, pid: int, stderr: Any) -> None:
        self.serial = serial
        self.pid = pid
        self.stderr = stderr


class _Zygote:
    """It hears of deaths by SIGCHLD: handles of processes are refused in some containers."""

    def __init__(self, core: Any, outlets: Any) -> None:
        self.core = core
        self.outlets = outlets
        self.socket = socket.socket(fileno=SOCKET)
        self.poll = select.poll()
        self.poll.register(SOCKET, select.POLLIN)
        self.deaths, wake = os.pipe()
        for descriptor in (self.deaths, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.deaths, select.POLLIN)
        # The socket tells of the parent's end, too, unless a fork of the parent has it still.
        self.parent = _open_handle(os.getppid())
        if self.parent is not None:
            self.poll.register(self.parent, select.POLLIN)
        self.workers: dict[int, _Worker] = {}  # by pid
        self.speakers: dict[int, Any] = {}  # by descriptor
        self.resting: dict[int, float] = {}  # until when such a one is not read
        self.told = -_BETWEEN
        self.outlet = outlets.Outlet(self.poll, _close_all_but)

    def serve(self) -> None:
        self.socket.send(NEWS.pack(0, READY, 0, 0, 0))
        while True:
            for descriptor, _ in self.poll.poll(self.wake_rested()):
                if descriptor == self.parent:
                    return
                if descriptor == SOCKET:
                    if not self.obey():
                        return
                elif descriptor == self.deaths:
                    self.bury_all()
                elif descriptor == self.outlet.feed:
                    self.outlet.flush()
                elif descriptor in self.speakers:
                    self.hear(descriptor)

    def close(self) -> None:
        """Nothing is left to serve: end the workers, and have what they said written."""
        self.socket.close()
        for pid in self.workers:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.outlet.close()

    def hear(self, descriptor: int) -> None:
        """Take some of what a worker has written to its stderr."""
        if not self.speakers[descriptor].read():
            self.poll.unregister(descriptor)
        elif until := self.speakers[descriptor].rest(time.monotonic()):
            self.poll.unregister(descriptor)
            self.resting[descriptor] = until

    def wake_rested(self) -> int | None:
        """Read again from those that may write on; return the milliseconds until there is more."""
        now = time.monotonic()
        self.tell_losses(now)
        for descriptor, until in list(self.resting.items()):
            if until <= now:
                del self.resting[descriptor]
                self.poll.register(descriptor, select.POLLIN)
        due = [*self.resting.values(), *([self.told + _BETWEEN] if self.outlet.lost else [])]
        return int((min(due) - now) * 1000) + 1 if due else None

    def tell_losses(self, now: float) -> None:
        """Tell the parent, now and then, how much could not be passed on."""
        if self.outlet.lost and now >= self.told + _BETWEEN:
            self.told = now
            lost, self.outlet.lost = min(self.outlet.lost, _MOST), 0
            self.socket.send(NEWS.pack(0, LOST, lost, 0, 0))

    def obey(self) -> bool:
        """Take one order. False: the parent has gone."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self.socket, 64, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError:
            return False
        if not data:
            return False
        serial, number = ORDER.unpack(data)
        if number:
            self.signal(serial, number)
            return True
        try:
            if not flags & socket.MSG_CTRUNC:  # there was room for them
                self.fork(serial, descriptors)
            error = errno.EMFILE if flags & socket.MSG_CTRUNC else 0
        except OSError as problem:
            error = problem.errno or errno.EAGAIN
        if error:
            text = f"the zygote could not fork: {os.strerror(error)}\n".encode()
            self.socket.send(NEWS.pack(serial, NOT_STARTED, error, 1 << 8, len(text)) + text)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def signal(self, serial: int, number: int) -> None:
        """Signal a worker; it has not been waited for, so its id is still its."""
        for worker in self.workers.values():
            if worker.serial == serial:
                os.kill(worker.pid, number)

    def fork(self, serial: int, descriptors: list[int]) -> None:
        way = os.pread(descriptors[3], 16, 0).partition(b"\n")[0]
        ours, theirs = os.pipe()
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(theirs)
            raise
        if pid == 0:
            _become_worker(self.core, zygote, theirs, descriptors)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.speakers[ours] = self.outlets.Speaker(ours, pid, way, self.outlet)
        self.workers[pid] = _Worker(serial, pid, self.speakers[ours])
        self.poll.register(ours, select.POLLIN)
        self.tell_start(serial, pid)

    def tell_start(self, serial: int, pid: int) -> None:
        news = NEWS.pack(serial, STARTED, pid, 0, 0)
        handle = _open_handle(pid)
        if handle is None:
            self.socket.send(news)
            return
        try:
            socket.send_fds(self.socket, [news], [handle])
        except OSError:  # too many are on their way
            self.socket.send(news)
        finally:
            os.close(handle)

    def bury_all(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self.deaths, CHUNK):
                pass
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] in self.workers:
                    self.bury(self.workers.pop(found[0]), found[1])

    def bury(self, worker: _Worker, status: int) -> None:
        worker.stderr.drain()
        descriptor = worker.stderr.descriptor
        del self.speakers[descriptor]
        self.resting.pop(descriptor, None)
        with suppress(KeyError):  # its stderr had ended before, or rests
            self.poll.unregister(descriptor)
        os.close(descriptor)
        tail = worker.stderr.tail(TAIL)
        news = NEWS.pack(worker.serial, ENDED, worker.pid, status, len(tail))
        self.socket.send(news + tail)


def _open_handle(pid: int) -> int | None:
    """Return a descriptor of a process; None where the system gives none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


# ---- the worker ----


def _become_worker(core: Any, zygote: int, stderr: int, descriptors: list[int]) -> NoReturn:
    status = 1
    try:
        segment, bell, control, setup, reply = descriptors
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(stderr, 2)
        # The zygote's own: with them a worker could pose as it, or kill its siblings.
        _close_all_but(descriptors)
        core.lib.aionif_forked()
        _stand_in_for_the_parent()
        status = _work(core, zygote, segment, bell, control, setup, reply)
    except BaseException:  # noqa: BLE001 - the end of this process, whatever it was
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _stand_in_for_the_parent() -> None:
    """Where memory runs out, the kernel is to end a worker, not the program that it works for."""
    with suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR)  # a text file is a codec, and pages
        try:
            score = int(os.read(file, 16))
            os.write(file, b"%d" % min(score + _EXPENDABLE, 1000))
        finally:
            os.close(file)


def _close_all_but(kept: list[int]) -> None:
    """Close all but these and 0 to 2."""
    # Not by ranges, if it can be helped: a Python that was built with a glibc before 2.34 makes a
    # system call for each number of one, which takes some tenths of a second.
    try:
        numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - pathlib is heavy
    except OSError:  # no /proc here
        for low, high in zip((2, *sorted(kept)), (*sorted(kept), 1 << 20), strict=True):
            os.closerange(low + 1, high)
        return
    for descriptor in numbers:
        if descriptor > 2 and descriptor not in kept:  # noqa: PLR2004 - stderr
            with suppress(OSError):  # the one by which the others were listed
                os.close(descriptor)


def _work(  # noqa: PLR0913, PLR0917 - what the order came with
    core: Any, zygote: int, segment: int, bell: int, control: int, setup: int, reply: int
) -> int:
    ffi, lib = core.ffi, core.lib
    with open(setup, "rb") as file:
        content = os.pread(file.fileno(), os.fstat(setup).st_size, 0)
    _, told, seal = content.split(b"\n", 2)  # the first is the zygote's
    wanted = json.loads(told)
    _take_environment(wanted["environment"])
    runner = _make_runner(core, reply, wanted)
    child = ffi.new(
        "struct aionif_child *",
        {
            "window": lib.aionif_window(0, 0),
            "segment": segment,
            "bell": bell,
            "control": control,
            "reply": reply,
            "zygote": zygote,
            "python": runner,
        },
    )
    error = lib.aionif_child_enter(child)
    if error:
        raise OSError(error, "the worker could not map its lane")
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and libraries rely on it
    _prepare(wanted)
    lib.aionif_child_warm()
    if not _seal(core, seal):
        return 1
    return int(lib.aionif_child_serve())


def _take_environment(given: dict[str, str]) -> None:
    """Have the variables that the zygote was started without."""
    for name, value in given.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _prepare(wanted: dict[str, Any]) -> None:
    """Load what calls will need. Once sealed, a worker may open nothing that it lacks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if wanted["is_sandboxed"]:
        os.dup2(2, 1)  # stdout is the program's: a terminal, or a file that may grow
        _import_python_side(wanted).warm(wanted)
    if wanted.get("python"):
        _import_python_side(wanted).prepare(wanted)


def _seal(core: Any, seal: bytes) -> bool:
    """Seal this process, and leave word for the parent; False: it must not serve."""
    ffi = core.ffi
    given = ffi.from_buffer("struct aionif_seal *", seal) if seal else ffi.NULL
    return bool(core.lib.aionif_child_seal(given, ffi.new("struct aionif_seal_result *")))


def _make_runner(core: Any, file: int, wanted: dict[str, Any]) -> Any:
    """Return the function of the catalog that runs Python callables."""
    ffi = core.ffi

    def run(request: int, length: int, reply: int) -> int:
        side = _import_python_side(wanted)
        return int(side.run(core, file, wanted, request, length, reply))

    return ffi.callback("int64_t(uint64_t, uint64_t, uint64_t)", run)


def _import_python_side(wanted: dict[str, Any]) -> Any:
    """Only where Python callables run: it needs pickle, and the parent's way of importing."""
    name = "aionif.process.child_python"
    if name not in sys.modules:
        sys.path[:] = wanted["path"]
        _load(name, wanted["python_side"])
    return sys.modules[name]


def _load(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[name] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _take_stderr() -> bytes:
    """Have the program's own stderr from now on; return what was written before the parent had."""
    said = os.pread(2, CHUNK, 0)
    os.dup2(STDERR, 2)
    os.close(STDERR)
    return said


def _main() -> None:
    core_path, window, size, path = sys.argv[1:5]
    os.set_inheritable(SOCKET, False)  # noqa: FBT003 - its one argument
    os.set_inheritable(CATALOG, False)  # noqa: FBT003
    sys.path[:] = json.loads(path)
    core = _load_core(core_path)
    ffi, lib = core.ffi, core.lib
    if not lib.aionif_window(int(window), int(size)):
        sys.exit("aionif: the addresses for worker processes are not free in the zygote")
    helper = os.path.join(os.path.dirname(core_path), "_cxx.so")  # noqa: PTH118, PTH120
    problem = lib.aionif_start(os.fsencode(helper) if os.path.exists(helper) else ffi.NULL)  # noqa: PTH110
    if problem != ffi.NULL or lib.aionif_catalog_use(CATALOG):
        sys.exit("aionif: the core can't run in the zygote")
    ffi.dlopen(core_path, os.RTLD_NOW | os.RTLD_NOLOAD | os.RTLD_GLOBAL)
    os.close(CATALOG)
    outlets = _load("aionif.process.child_stderr", f"{__file__.removesuffix('.py')}_stderr.py")
    said = _take_stderr()
    zygote = _Zygote(core, outlets)
    zygote.outlet.put(said)
    zygote.serve()
    zygote.close()


if __name__ == "__main__":
    _main()
