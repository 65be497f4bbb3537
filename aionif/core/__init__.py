"""The compiled core as Python sees it: its functions, its structs, the slot of each thread.

May use `system`, `log` and `errors`. Private.
"""
