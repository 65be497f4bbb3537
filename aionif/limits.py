"""What a worker process may use: one class for policies and sandboxes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from aionif.errors.checks import check_count, check_seconds

__all__ = ("KEPT_BY_PARENT", "NO_LIMITS", "SEALED_LIMITS", "SEALED_RUN_TIMEOUT", "NifLimits")

KEPT_BY_PARENT = ("resident_memory", "cpu_time", "result_size")
"""The limits that no process can keep by itself."""

_MIB = 1 << 20
_LEAST = {
    "address_space": _MIB,
    "resident_memory": _MIB,
    "open_files": 16,
    "file_size": 0,
    "processes": 0,
    "result_size": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NifLimits:
    """What one worker process may use. None: no limit of ours, but for those a sandbox sets.

    address_space: bytes, over what the worker has mapped before its first call.
    resident_memory: bytes of its own in memory, and of what it shares with this process (its lane,
        buffers), looked at every 10 ms while a call runs.
    cpu_time: seconds of CPU that one call may use, looked at every 10 ms.
    open_files: descriptors, the worker's own (about six) included.
    file_size: bytes, of any file it writes.
    processes: processes and threads that the *user* of the worker may have, which is how Linux
        counts. It does not bind root, for whom it is refused unless the sandbox lets a worker
        start neither.

    result_size: bytes of one result of a Python callable, as it travels; of plain data also of the
        memory that it takes here, about. What is larger is not read. 64 MiB in a sandbox.

    Where none is given, a sandbox limits resident_memory to 1 GiB, cpu_time to 60 s, open_files to
    256, file_size to 64 MiB and result_size to 64 MiB.

    resident_memory, cpu_time and result_size are watched by the parent of a worker, so
    `seal_process` refuses them.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    address_space: int | None = None
    resident_memory: int | None = None
    cpu_time: float | None = None
    open_files: int | None = None
    file_size: int | None = None
    processes: int | None = None
    result_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                check_count(name, value, least)
        if self.cpu_time is not None:
            check_seconds("cpu_time", self.cpu_time)

    def __repr__(self) -> str:
        given = ((field.name, getattr(self, field.name)) for field in fields(self))
        text = ", ".join(f"{name}={value}" for name, value in given if value is not None)
        return f"NifLimits({text})"

    def completed(self, others: NifLimits) -> NifLimits:
        """Return these limits, and of `others` those that are not among them."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(others, **{name: value for name, value in mine.items() if value is not None})

    def tightened(self, other: NifLimits) -> NifLimits:
        """Return the lower of both, field by field."""
        pairs = {
            field.name: (getattr(self, field.name), getattr(other, field.name))
            for field in fields(self)
        }
        return NifLimits(
            **{
                name: min((value for value in pair if value is not None), default=None)
                for name, pair in pairs.items()
            }
        )


NO_LIMITS = NifLimits()

SEALED_LIMITS = NifLimits(
    resident_memory=1024 * _MIB,
    cpu_time=60.0,
    open_files=256,
    file_size=64 * _MIB,
    result_size=64 * _MIB,
)
"""Those of sealed workers where none is given."""

SEALED_RUN_TIMEOUT = 60.0
"""Seconds that a call without a timeout may run in a sealed worker, if its policy says nothing."""
