"""What a crash looked like: frames, names and lines, the report.

May use `system` and `log`. Private, but for what `aionif.errors` shows of it.
"""
