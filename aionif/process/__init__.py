"""Worker processes, both sides: the zygote, the worker, how arguments get there and results back.

May use `sealing`, `memory`, `binding` and what is below. Private.
"""
