"""How far a run of the benchmarks is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from aionif.bench.result import Cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from aionif.bench.result import Behaviour

    Shown = Callable[[Cell | Behaviour, int], None]

__all__ = ("shown",)

_LINES = 10  # for a whole run, where there is no terminal
_UNLUCKY = ("hung", "died", "failed")


@contextmanager
def shown(console: Console) -> Iterator[Shown]:
    """Give what is to be called with each thing that was found, and how many are left."""
    if console.is_terminal:
        with _bar(console) as show:
            yield show
    else:
        yield _Lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[Shown]:
    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeRemainingColumn())
    words = TextColumn("{task.description}", markup=False)
    with Progress(*columns, words, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def show(found: Cell | Behaviour, left: int) -> None:
            done = int(progress.tasks[0].completed) + 1
            progress.update(task, completed=done, total=done + left, description=_words(found))
            if _is_unlucky(found):
                console.print(_sentence(found), markup=False, highlight=False)

        yield show


class _Lines:
    """Prints every tenth of a run, and at once what did not go well."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = 0
        self._told = 0

    def __call__(self, found: Cell | Behaviour, left: int) -> None:
        self._done += 1
        part = self._done * _LINES // (self._done + left)
        if _is_unlucky(found):
            self._print(_sentence(found))
        if part > self._told:
            self._told = part
            self._print(f"{part * 100 // _LINES} % done")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def _words(found: Cell | Behaviour) -> str:
    where = found.scenario if isinstance(found, Cell) else found.event
    return f"{where}, {found.subject}"


def _is_unlucky(found: Cell | Behaviour) -> bool:
    return isinstance(found, Cell) and found.status in _UNLUCKY


def _sentence(found: Cell | Behaviour) -> str:
    status = found.status if isinstance(found, Cell) else ""
    return f"{_words(found)}: {status}{': ' if found.note else ''}{found.note}"
