"""A Python callable in a worker process raised what can't be brought here as it is."""

from __future__ import annotations

from dataclasses import dataclass

from aionif.errors.base import NifError

__all__ = ("NifRemoteError",)


@dataclass(kw_only=True, eq=False, repr=False)
class NifRemoteError(NifError):
    """A callable in a sealed worker raised an exception that is not built in.

    Built-in exceptions arrive as they are. Nothing else does from a worker that is not trusted, as
    making it here would run code that the worker has named.

    type_name: the exception's class, with its module. text: its `str()`. traceback: the worker's.
    All three are what the worker says.
    """

    type_name: str
    text: str = ""
    traceback: str = ""

    def _what(self) -> str:
        text = f": {self.text}" if self.text else ""
        return f"the callable raised {self.type_name}{text}"

    def _remedy(self) -> str:
        return (
            "exc.traceback shows where; have it raise a built-in exception with plain arguments to "
            'get that, or set NifPolicy(results="pickle") if you trust all that runs in the worker.'
        )
