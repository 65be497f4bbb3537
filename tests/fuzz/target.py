"""One Python reader under atheris, which is libFuzzer: arguments are its name and libFuzzer's."""

from __future__ import annotations

import sys

import atheris

READ = [
    "process",
    "errors",
    "crash",
    "system",
    "calls.failures",
    "loops.core_events",
    "sealing.seal",
]

with atheris.instrument_imports(include=[f"aionif.{name}" for name in READ]):
    from tests.fuzz.readers import PYTHON


def main() -> None:
    program, name, *flags = sys.argv
    PYTHON[name](b"")  # what is made once is made before anything is measured
    atheris.Setup([program, *flags], PYTHON[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
