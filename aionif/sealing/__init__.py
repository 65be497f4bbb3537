"""From a Sandbox to a sealed process, and from a process that was watched to a Sandbox.

May use `filters`, the faces for settings, and what is below. Private: `aionif` has what is public.
"""
