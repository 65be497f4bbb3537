"""Where libFuzzer is on this machine: the wheel of atheris has it, also as an archive for C.

Run as a program it prints the archive's path, or says on stderr why there is none, and returns 1.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

__all__ = ("archive",)

_NAME = "libclang_rt.fuzzer_no_main.a"


def archive() -> Path | None:
    """Return the archive that a C target is linked with; None: there is no wheel of atheris."""
    found = importlib.util.find_spec("atheris")
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parents[1] / _NAME
    return path if path.is_file() else None


def main() -> int:
    path = archive()
    if path is None:
        here = f"{platform.machine()} with Python {platform.python_version()}"
        print(f"fuzz: skipped: there is no wheel of atheris for {here}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
