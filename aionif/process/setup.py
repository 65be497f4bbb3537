"""What worker processes are told to do before they serve."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from aionif.limits import SEALED_LIMITS
from aionif.process.environment import of_worker
from aionif.process.surroundings import Surroundings, surroundings_now
from aionif.sealing.seal import compile_worker_seal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from aionif.policy import NifPolicy

__all__ = ("Setup",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the workers of a process pool do before they serve.

    main: how to run the program's main module again, for what is defined there.
    python: initializer and modules to import, for Python callables (see child_python).
    max_calls: after so many a worker is replaced.
    surroundings: what of the program's they have.
    """

    main: tuple[tuple[str, str], ...] = ()
    python: tuple[tuple[str, str], ...] = ()
    max_calls: int | None = None
    surroundings: Surroundings = field(default_factory=surroundings_now, compare=False)

    def renewed(self) -> Self:
        """Return the same for the surroundings of now."""
        return replace(self, surroundings=surroundings_now())

    @property
    def preload(self) -> list[str]:
        """The names of modules that the program wants imported."""
        return dict(self.python).get("preload", "").split(",")

    def document(self, policy: NifPolicy, modules: Sequence[str]) -> bytes:
        """Return it as a worker reads it: a line of JSON, and its seal if it is to have one.

        Before it comes a line for the zygote, which reads no more than that: the rest is the
        worker's alone. modules: to be imported, as far as they can be, before it is sealed.
        """
        told = dict(self.python)
        around = self.surroundings
        if policy.sandbox is None and around.authkey:
            told["authkey"] = around.authkey  # who has it may speak to the program's managers
        # Others than those who run the main module anew have no use for the program's options.
        most = 1 if policy.sandbox is not None and "__main__" not in modules else None
        here = Path(__file__)
        document = {
            "is_sandboxed": policy.sandbox is not None,
            "path": around.path,
            "arguments": around.arguments[:most],
            "directory": around.directory if policy.sandbox is None else None,
            "python_side": str(here.with_name("child_python.py")),
            "message": str(here.with_name("message.py")),
            "plain": str(here.with_name("plain.py")),
            "sharing": str(here.with_name("child_sharing.py")),
            "main": dict(self.main),
            "python": told,
            "modules": list(modules),
            "environment": of_worker(policy.sandbox, around.environment),
        }
        seal = compile_worker_seal(policy)
        return b"\n".join((_for_zygote(policy), json.dumps(document).encode(), seal))


def _for_zygote(policy: NifPolicy) -> bytes:
    """What becomes of a worker's stderr besides its reports, and the limits of its control group.

    The first in the word of child_stderr; of memory and processes 0 for no limit, and whether that
    of memory is another than all sandboxes have.
    """
    way = "raw" if policy.sandbox is None else policy.sandbox.stderr
    limits = policy.limits
    memory = limits.resident_memory or 0
    is_given = memory != SEALED_LIMITS.resident_memory
    return f"{way} {memory} {limits.processes or 0} {is_given:d}".encode()
