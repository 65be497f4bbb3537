"""The ways of calling that are compared: aionif's tiers, and what a program would use instead.

A subject is opened with a number of workers, and then binds work: it makes of a function and its
arguments what a program of that library would await, and nothing is added that the program would
not have. All of them call the same functions with as many workers, in the way their documentation
has it; where a library leaves a choice, the faster one is taken, and the title says which.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aionif.bench.result import SubjectFacts

__all__ = ("SUBJECTS", "Refusal", "Subject", "describe", "is_installed", "opening")


class Refusal(Exception):  # noqa: N818 - no error: by its nature the subject can't
    """A subject can't do what is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One way of calling.

    module, opener: where its context manager is; imported when it is used, as each child process
        needs one of them. distribution: what has to be installed.
    backend: the event loop that it runs under. synchronous: its calls return with the result.
    lacks: what it can't do by its nature, and why.
    only: the groups of scenarios that it takes part in; empty: in all.
    """

    name: str
    title: str
    module: str
    opener: str
    distribution: str = ""
    backend: Literal["asyncio", "trio"] = "asyncio"
    synchronous: bool = False
    lacks: Mapping[str, str] = field(default_factory=dict)
    only: frozenset[str] = frozenset()


_OURS = "aionif.bench._subjects_own"
_THREADS = "aionif.bench._subjects_threads"
_PROCESSES = "aionif.bench._subjects_processes"

_DIES = {"crash": "a crash ends the program"}
_BLOCKS = "the event loop stands still for each call: there is never more than one"
_SHARED = "it differs from the process tier in large arguments alone"

_ALL = (
    Subject(
        name="direct",
        title="direct call",
        module=_THREADS,
        opener="direct",
        synchronous=True,
        lacks={**_DIES, "flight": _BLOCKS, "deadline": "nothing can stop it"},
    ),
    Subject(
        name="call_nif",
        title="aionif.call_nif, inline",
        module=_OURS,
        opener="inline",
        distribution="aionif",
        synchronous=True,
        lacks={"flight": _BLOCKS},
    ),
    Subject(
        name="thread",
        title="aionif, thread tier",
        module=_OURS,
        opener="threads",
        distribution="aionif",
    ),
    Subject(
        name="process",
        title="aionif, process tier",
        module=_OURS,
        opener="processes",
        distribution="aionif",
    ),
    Subject(
        name="process-buffer",
        title="aionif, process tier, data that lies in a Buffer",
        module=_OURS,
        opener="buffered",
        distribution="aionif",
        lacks=dict.fromkeys(("crash", "deadline", "flight"), _SHARED),
        only=frozenset({"arguments"}),
    ),
    Subject(
        name="process-fill",
        title="aionif, process tier, data copied into a Buffer each time",
        module=_OURS,
        opener="filled",
        distribution="aionif",
        lacks=dict.fromkeys(("crash", "deadline", "flight"), _SHARED),
        only=frozenset({"arguments"}),
    ),
    Subject(
        name="to_thread",
        title="asyncio.to_thread",
        module=_THREADS,
        opener="to_thread",
        lacks=_DIES,
    ),
    Subject(
        name="ThreadPoolExecutor",
        title="ThreadPoolExecutor, run_in_executor",
        module=_THREADS,
        opener="thread_pool",
        lacks=_DIES,
    ),
    Subject(
        name="anyio.to_thread",
        title="anyio.to_thread",
        module=_THREADS,
        opener="anyio_thread",
        distribution="anyio",
        lacks=_DIES,
    ),
    Subject(
        name="ProcessPoolExecutor",
        title="ProcessPoolExecutor (forkserver)",
        module=_PROCESSES,
        opener="process_pool",
    ),
    Subject(
        name="anyio.to_process",
        title="anyio.to_process",
        module=_PROCESSES,
        opener="anyio_process",
        distribution="anyio",
    ),
    Subject(
        name="loky",
        title="loky, reusable executor (fork and exec)",
        module=_PROCESSES,
        opener="loky_executor",
        distribution="loky",
    ),
    Subject(
        name="pebble",
        title="pebble.ProcessPool (forkserver)",
        module=_PROCESSES,
        opener="pebble_pool",
        distribution="pebble",
    ),
    Subject(
        name="trio-parallel",
        title="trio-parallel (trio, spawn)",
        module=_PROCESSES,
        opener="trio_parallel_pool",
        distribution="trio-parallel",
        backend="trio",
    ),
    Subject(
        name="deadpool",
        title="deadpool (forkserver)",
        module=_PROCESSES,
        opener="deadpool_executor",
        distribution="deadpool-executor",
    ),
)

SUBJECTS: dict[str, Subject] = {subject.name: subject for subject in _ALL}
"""All subjects by name, whether they are installed or not."""


def is_installed(subject: Subject) -> bool:
    """Return whether its library is there."""
    return not subject.distribution or _version(subject) != ""


def describe(subject: Subject) -> SubjectFacts:
    """Return what a run's results say of it."""
    from aionif.bench.result import SubjectFacts  # noqa: PLC0415 - children have no use for it

    return SubjectFacts(name=subject.name, title=subject.title, version=_version(subject))


def opening(subject: Subject) -> Callable[[int], AbstractAsyncContextManager[Any]]:
    """Import what the subject needs, and return what opens it: `async with open(workers) as bind`.

    `bind(work, timeout=None)` returns what makes the call: it returns an awaitable, or of a
    synchronous subject, the result. timeout: seconds; the library's own deadline where it has one,
    the event loop's where it has not.
    """
    module = importlib.import_module(subject.module)
    opener: Callable[[int], AbstractAsyncContextManager[Any]] = getattr(module, subject.opener)
    return opener


def _version(subject: Subject) -> str:
    if not subject.distribution:
        return ""
    try:
        return metadata.version(subject.distribution)
    except metadata.PackageNotFoundError:
        return ""
