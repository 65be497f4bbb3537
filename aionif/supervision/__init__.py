"""Tasks that fail alone, and trees that start again what failed: OTP's ways, on anyio.

May use `aionif.executor` and what is below. What is public is in `aionif`.
"""

from aionif.supervision import tree as _tree  # noqa: F401 - it tells telemetry what to show
