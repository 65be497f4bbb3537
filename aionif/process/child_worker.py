"""A worker process, from its fork on.

It sets itself up (modules, initializer, libraries), seals itself as its policy says, then serves
its lane in C.

Native calls do not enter Python; a Python callable is one native function, `run`, which does.
Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

__all__ = ("become", "close_all_but")

_EXPENDABLE = 500  # of 1000: half of all memory, which the kernel adds to what a worker uses
_OUTLIVE = 0, "neither a namespace of process ids nor a control group ends them with their call"


def become(  # noqa: PLR0913, PLR0917 - what the order came with
    core: Any, zygote: int, stderr: int, descriptors: list[int], kept: list[int], group: Any
) -> NoReturn:
    """Be a worker, to the end; stderr and descriptors: what the order came with.

    group: the control group to be in.
    """
    status = 1
    try:
        segment, bell, control, setup, reply, out = descriptors
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _enter_group(core, group)
        os.dup2(out, 1)
        os.dup2(stderr, 2)
        # The zygote's own: with them a worker could pose as it, or kill its siblings.
        close_all_but([*descriptors[:-1], *kept])
        core.lib.aionif_forked()
        _stand_in_for_the_parent()
        status = _work(core, zygote, segment, bell, control, setup, reply)
    except BaseException:  # noqa: BLE001 - the end of this process, whatever it was
        sys.excepthook(*sys.exc_info())
        with suppress(Exception):  # what an initializer has printed, which may say why
            sys.stdout.flush()
    finally:
        os._exit(status)


def _enter_group(core: Any, group: Any) -> None:
    lib = core.lib
    group.enter()
    _note(lib, lib.AIONIF_SEAL_CGROUP, group.problem)
    is_apart = lib.aionif_template_has(lib.AIONIF_SEAL_PID)
    _note(lib, lib.AIONIF_SEAL_CHILDREN, None if is_apart or group.ends_all else _OUTLIVE)


def _note(lib: Any, part: int, problem: tuple[int, str] | None) -> None:
    """Have the seal say whether there is what the zygote has made for this worker alone."""
    if problem is None:
        lib.aionif_template_applied(part)
    else:
        lib.aionif_template_missing(part, problem[0], problem[1].encode()[:200])


def _stand_in_for_the_parent() -> None:
    """Where memory runs out, the kernel is to end a worker, not the program that it works for."""
    with suppress(OSError):
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR)  # a text file is a codec, and pages
        try:
            score = int(os.read(file, 16))
            os.write(file, b"%d" % min(score + _EXPENDABLE, 1000))
        finally:
            os.close(file)


def close_all_but(kept: list[int]) -> None:
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
    _take_surroundings(wanted)
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


def _take_surroundings(wanted: dict[str, Any]) -> None:
    """Have what the program had when the executor was opened, not when the zygote was started."""
    given = wanted["environment"]
    for name in [name for name in os.environ if name not in given]:
        del os.environ[name]
    for name, value in given.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    sys.argv[:] = wanted["arguments"]
    if wanted["directory"] is not None:
        try:
            os.chdir(wanted["directory"])
        except OSError as problem:
            os.write(2, f"aionif: a worker is not in the program's directory: {problem}\n".encode())


def _prepare(wanted: dict[str, Any]) -> None:
    """Load what calls will need. Once sealed, a worker may open nothing that it lacks."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if wanted["is_sandboxed"]:
        os.dup2(2, 1)  # stdout is the program's: a terminal, or a file that may grow
        _import_python_side(wanted).warm(wanted)
        _import_python_side(wanted).import_modules(wanted)
    if wanted.get("python"):
        _import_python_side(wanted).prepare(wanted)
    with suppress(Exception):  # printed meanwhile; what calls print is written as they end
        sys.stdout.flush()


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
