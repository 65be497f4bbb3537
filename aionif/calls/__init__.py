"""The hot path: routes, requests and results, sessions, the pools of an executor, breakers.

May use `loops` and what is below. Private: `aionif.executor` and `aionif.inline` are its faces.
"""
