"""A function as it was given becomes a plan: everything that is known before it is called.

May use `core` and `errors`. Private: what calls is in `calls`.
"""
