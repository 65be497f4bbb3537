"""Memory that this process and its workers have at the same addresses.

May use `core` and `errors`. Private: `aionif.buffer` is its face.
"""
