"""From a policy to a sealed process.

`compile_seal` turns a Sandbox into bytes, in the process that has the policy. `apply_seal` hands
them to the core in the process that is to be sealed. The bytes hold no pointer, and C code can
apply them as well: `aionif_seal` in `csrc/core.h`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from errno import errorcode
from typing import TYPE_CHECKING, Any

from aionif import log
from aionif.core.native import ffi, lib
from aionif.errors import NifArgumentError, NifRejected
from aionif.filters.bpf import encode, relocations
from aionif.filters.profiles import program_of
from aionif.limits import KEPT_BY_PARENT
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionif.filters.bpf import Instruction
    from aionif.filters.profiles import GrantName
    from aionif.limits import NifLimits
    from aionif.policy import NifPolicy
    from aionif.sandbox import Sandbox

__all__ = (
    "SealNote",
    "SealReport",
    "apply_seal",
    "compile_seal",
    "compile_worker_seal",
    "log_missing",
    "pack_seal",
    "parts_of_worker",
    "paths_of",
    "read_report",
    "refusal",
    "seal_process",
    "words_of",
)

_PARTS: dict[str, int] = {
    "privileges": lib.AIONIF_SEAL_PRIVILEGES,
    "secrecy": lib.AIONIF_SEAL_SECRECY,
    "limits": lib.AIONIF_SEAL_RLIMITS,
    "files": lib.AIONIF_SEAL_FILES,
    "tcp": lib.AIONIF_SEAL_TCP,
    "scope": lib.AIONIF_SEAL_SCOPE,
    "filter": lib.AIONIF_SEAL_FILTER,
    "user namespace": lib.AIONIF_SEAL_USER,
    "network namespace": lib.AIONIF_SEAL_NET,
    "ipc namespace": lib.AIONIF_SEAL_IPC,
    "pid namespace": lib.AIONIF_SEAL_PID,
    "mount namespace": lib.AIONIF_SEAL_MOUNT,
    "identity": lib.AIONIF_SEAL_IDENTITY,
    "cgroup": lib.AIONIF_SEAL_CGROUP,
    "child processes": lib.AIONIF_SEAL_CHILDREN,
}
_NAMESPACES = {
    "user": lib.AIONIF_SEAL_USER,
    "net": lib.AIONIF_SEAL_NET,
    "ipc": lib.AIONIF_SEAL_IPC,
}

# Allowing these would be in vain if Landlock went on denying them.
_SIGNALLING = frozenset({"kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigqueueinfo"})
_CONNECTING = frozenset({"bind", "connect"})
_STARTING = frozenset({"clone", "clone3", "fork", "vfork"})

# Those that the process sets for itself, in the order of aionif_seal.limits. The others are kept by
# the parent of a worker.
_LIMITS = ("address_space", "open_files", "file_size", "processes")

# What serving a lane takes besides: the memory of an `aionif.Buffer` comes through the worker's
# socket. Nothing goes back that way: memory for large results is the parent's.
_OF_WORKERS = ("recvmsg",)


@dataclass(frozen=True, slots=True)
class SealNote:
    """Why a part of a seal is missing, or something else worth knowing about it.

    part: one of the words of `SealReport.missing`, or more of them, joined by commas.
    error: the name of an errno, such as "ENOSYS"; None where there was none.
    """

    part: str
    error: str | None
    text: str

    def __str__(self) -> str:
        error = "" if self.error is None else f" ({self.error})"
        return f"{self.part}: {self.text}{error}" if self.part else f"{self.text}{error}"


@dataclass(frozen=True, slots=True)
class SealReport:
    """What holds in a sealed process.

    is_sealed: False where a part is missing that the policy requires.
    applied, missing: words for its parts: "filter", "privileges", "secrecy", "limits", "files",
        "tcp", "scope", "user namespace", "network namespace", "ipc namespace", and of worker
        processes "pid namespace", "mount namespace", "identity", "cgroup" and "child processes".
        What was not asked for is in neither.
    landlock: version of Landlock's interface; 0 where the kernel has none for us.
    notes: why something is missing, and which paths could not be opened.
    """

    is_sealed: bool
    applied: tuple[str, ...]
    missing: tuple[str, ...]
    landlock: int
    notes: tuple[SealNote, ...]


# ---- compiling ----


def compile_seal(
    sandbox: Sandbox,
    *,
    also: Iterable[str] = (),
    without: Iterable[GrantName] = (),
    is_dumpable: bool = False,
) -> bytes:
    """Return the seal of a policy, to be applied in any process of this machine.

    also: system calls that the worker itself needs, whatever the policy allows. without: what the
    policy grants and this process does not need. is_dumpable: leave the process open to debuggers
    of the same user, and to core dumps.

    Raises:
        NifArgumentError: the policy lists more paths than a seal can hold.
    """
    seal = _pack(sandbox, also, without, is_dumpable=is_dumpable)
    return bytes(ffi.buffer(seal))


def compile_worker_seal(policy: NifPolicy) -> bytes:
    """Return the seal of a worker process; empty where the policy asks for nothing."""
    if policy.sandbox is not None:
        seal = _pack(policy.sandbox, _OF_WORKERS, (), is_dumpable=False)
        wanted, required = parts_of_worker(policy.sandbox)
        seal.wanted |= wanted
        seal.required |= required
        return bytes(ffi.buffer(seal))
    if not _has_limits(policy.limits):
        return b""
    seal = pack_seal([])
    _put_limits(seal, policy.limits)
    seal.wanted = seal.required = lib.AIONIF_SEAL_RLIMITS
    return bytes(ffi.buffer(seal))


def _pack(
    sandbox: Sandbox, also: Iterable[str], without: Iterable[GrantName], *, is_dumpable: bool
) -> Any:
    grants = sandbox.granted.difference(without)
    code = program_of(HERE.name, grants, {*sandbox.syscalls, *also}, sandbox.denied)
    seal = pack_seal(code)
    _put_limits(seal, sandbox.limits, sandbox)
    _put_paths(seal, sandbox)
    seal.wanted, seal.required = _parts(sandbox, is_dumpable=is_dumpable)
    return seal


def parts_of_worker(sandbox: Sandbox) -> tuple[int, int]:
    """Return the parts that the zygote makes for a worker: those wanted, and those required.

    They are tried wherever they are to be had, whether or not the policy names them.
    """
    wanted = lib.AIONIF_SEAL_PID | lib.AIONIF_SEAL_IPC | lib.AIONIF_SEAL_MOUNT
    if "network" not in sandbox.grants:
        wanted |= lib.AIONIF_SEAL_NET
    if os.geteuid() == 0:
        wanted |= lib.AIONIF_SEAL_IDENTITY
    else:
        wanted |= lib.AIONIF_SEAL_USER
    required = 0
    for name in sandbox.namespaces:
        wanted |= _NAMESPACES[name]
    for name in sandbox.required_namespaces:
        required |= _NAMESPACES[name]
    if sandbox.cgroup is not None:
        wanted |= lib.AIONIF_SEAL_CGROUP
    if sandbox.cgroup == "required":
        required |= lib.AIONIF_SEAL_CGROUP
    if sandbox.forks:  # a namespace of process ids, or a control group, ends them with their call
        wanted |= lib.AIONIF_SEAL_CHILDREN
        required |= lib.AIONIF_SEAL_CHILDREN
    return wanted, required if sandbox.mode == "required" else 0


def pack_seal(code: list[Instruction]) -> Any:
    """Return a `struct aionif_seal` with a filter and nothing else."""
    seal = ffi.new("struct aionif_seal *")
    seal.size = ffi.sizeof("struct aionif_seal")
    own = relocations(code)
    seal.code_length, seal.own_pid_count = len(code), len(own)
    seal.own_pids[0 : len(own)] = own
    ffi.memmove(seal.code, encode(code), 8 * len(code))
    for index in range(lib.AIONIF_SEAL_LIMITS):
        seal.limits[index] = -1
    return seal


def _put_limits(seal: Any, limits: NifLimits, sandbox: Sandbox | None = None) -> None:
    # Then the filter keeps that limit; for root it is the only one that can.
    if sandbox is not None and not _may_start(sandbox):
        limits = replace(limits, processes=None)
    for index, name in enumerate(_LIMITS):
        limit = getattr(limits, name)
        seal.limits[index] = -1 if limit is None else limit


def _may_start(sandbox: Sandbox) -> bool:
    return bool({"threads", "fork"} & sandbox.granted or _STARTING & sandbox.syscalls)


def _has_limits(limits: NifLimits) -> bool:
    return any(getattr(limits, name) is not None for name in _LIMITS)


def _put_paths(seal: Any, sandbox: Sandbox) -> None:
    rules = paths_of(sandbox)
    text = b""
    for index, (kind, path) in enumerate(rules):
        at, text = len(text), text + path.encode(errors="surrogateescape") + b"\0"
        if index >= lib.AIONIF_SEAL_PATHS or len(text) >= lib.AIONIF_SEAL_TEXT:
            raise NifArgumentError(
                argument="sandbox",
                value=len(rules),
                problem=f"lists more than the {index} paths that a seal can hold",
                remedy="Allow a directory that has several of them.",
            )
        seal.paths[index] = {"access": kind, "at": at}
    seal.path_count = len(rules)
    ffi.memmove(seal.text, text, len(text))


def paths_of(sandbox: Sandbox) -> list[tuple[int, str]]:
    """Return what may be read, written and executed: AIONIF_SEAL_READ and the like, and a path."""
    # To the kernel the loader of a program is executed too.
    execute = (*sandbox.execute, *HERE.loaders) if sandbox.execute else ()
    access = {
        lib.AIONIF_SEAL_READ: sandbox.readable,
        lib.AIONIF_SEAL_WRITE: sandbox.write,
        lib.AIONIF_SEAL_EXECUTE: execute,
    }
    return [(kind, path) for kind, paths in access.items() for path in paths]


def _parts(sandbox: Sandbox, *, is_dumpable: bool) -> tuple[int, int]:
    """Return the parts that are wanted, and those that are required."""
    required = lib.AIONIF_SEAL_FILTER | lib.AIONIF_SEAL_PRIVILEGES
    if not is_dumpable:
        required |= lib.AIONIF_SEAL_SECRECY
    if _has_limits(sandbox.limits):
        required |= lib.AIONIF_SEAL_RLIMITS
    if "files" in sandbox.granted:
        required |= lib.AIONIF_SEAL_FILES
    for name in sandbox.required_namespaces:
        required |= _NAMESPACES[name]
    # Where the filter alone is tight, Landlock is a second wall: welcome, and not required.
    wanted = required | lib.AIONIF_SEAL_FILES
    if "network" not in sandbox.grants and not _CONNECTING & sandbox.syscalls:
        wanted |= lib.AIONIF_SEAL_TCP
    if not (_SIGNALLING | _CONNECTING) & sandbox.syscalls:
        wanted |= lib.AIONIF_SEAL_SCOPE
    for name in sandbox.namespaces:
        wanted |= _NAMESPACES[name]
    return wanted, required if sandbox.mode == "required" else 0


# ---- applying ----


def apply_seal(seal: bytes) -> SealReport:
    """Seal this process with what `compile_seal` returned, and say what holds now.

    Where `is_sealed` is False the process should report that and end: it is sealed in part.
    """
    room = ffi.new("struct aionif_seal *")
    if len(seal) == ffi.sizeof(room[0]):  # or else the core refuses it, for its size of 0
        ffi.memmove(room, seal, len(seal))
    out = ffi.new("struct aionif_seal_result *")
    return read_report(out, is_sealed=bool(lib.aionif_seal(room, out)))


def read_report(out: Any, *, is_sealed: bool) -> SealReport:
    """Return what the core has written into a `struct aionif_seal_result`."""
    notes = tuple(
        SealNote(
            ", ".join(words_of(note.part)),
            errorcode.get(note.error) if note.error else None,
            ffi.string(note.text).decode(errors="replace"),
        )
        for note in out.notes[0 : out.note_count]
    )
    return SealReport(is_sealed, words_of(out.applied), words_of(out.missing), out.landlock, notes)


def words_of(parts: int) -> tuple[str, ...]:
    """Return the words for parts of a seal, given as bits."""
    return tuple(word for word, part in _PARTS.items() if parts & part)


def refusal(report: SealReport, what: str = "sandbox") -> NifRejected:
    """Return the error for a policy that can't be enforced; what: "limits" if it has no more."""
    # What is seldom to be had is seldom required.
    notes = sorted(report.notes, key=lambda note: note.part.endswith("namespace"))
    why = "; ".join(map(str, notes)) or ", ".join(report.missing)
    return NifRejected(
        reason=f"its {what} can't be enforced here: {why}",
        remedy='Leave out of the policy what is missing, or use mode="best_effort".',
    )


_logged: set[tuple[str, ...]] = set()


def log_missing(missing: tuple[str, ...], reasons: str, executor: str | None = None) -> None:
    """Log what is missing from a seal, once for each set of missing parts."""
    if missing and missing not in _logged:
        _logged.add(missing)
        of = {} if executor is None else {"executor": executor}
        log.warn("nif_sandbox_incomplete", missing=", ".join(missing), reasons=reasons, **of)


def seal_process(sandbox: Sandbox) -> SealReport:
    """Seal this process, for good, and return what holds now.

    For programs that do their own isolating: a child that is to run something risky loads it
    first, then calls this. It should have one thread, and no descriptor open that it does not
    need. What the policy denies ends a native call with NifSyscallDenied; anywhere else it ends
    the process with SIGSYS.

    Raises:
        NifArgumentError: the policy has a limit that only the parent of a worker keeps.
        NifRejected: something that the policy requires is missing here. The process is then
            sealed in part, and should end.
    """
    for name in KEPT_BY_PARENT:
        if getattr(sandbox.limits, name) is not None:
            raise NifArgumentError(
                argument=name,
                value=getattr(sandbox.limits, name),
                problem="is a limit that the parent of a worker process keeps",
                remedy='Use NifPolicy(sandbox=...) with isolation="process", or leave it out.',
            )
    report = apply_seal(compile_seal(sandbox))
    if not report.is_sealed:
        raise refusal(report)
    log_missing(report.missing, "; ".join(map(str, report.notes)))
    return report
