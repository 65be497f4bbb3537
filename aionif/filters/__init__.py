"""System calls by name and number, what each profile allows, and the filter that says so.

May use `core` and `errors`. Private: `aionif.sandbox` is its face.
"""
