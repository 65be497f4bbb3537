"""What operators see. Nothing here runs when a call succeeds, but tracing, where it is switched on.

attach, detach: handlers of log events. `aionif.telemetry.metrics` and `aionif.telemetry.tracing`
are imported by those who use them, and need the extras `metrics` and `otel`.

May use `core`, `errors` and `log`: rooms above put what it is to look at into `telemetry.sources`.
`metrics`, `tracing`, `top`, `attach` and `detach` are public.
"""

from aionif.log import attach, detach

__all__ = ("attach", "detach")
