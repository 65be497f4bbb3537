"""HTML that is put together from parts, in which what is only text can never become markup."""

from __future__ import annotations

import html
import json
from typing import Any

__all__ = ("Markup", "as_data", "join", "tag")


class Markup(str):
    """Text that is HTML already; every other string is escaped when it is put into some."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: str | bool) -> Markup:
    """Return an element. Of attribute names, `_` at the end is dropped and others become `-`.

    An attribute that is True has no value, and one that is False is left out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not False
    )
    return Markup(f"<{name}{shown}>{join(*content)}</{name}>")


def join(*content: str) -> Markup:
    """Return parts side by side; plain text among them is escaped."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in content)
    )


def as_data(value: Any, *, id_: str) -> Markup:
    """Return an element that holds a value as JSON, for a script to parse.

    No text in the value can end the element: a script's content is not unescaped, so the characters
    that HTML looks for are written as JSON escapes.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(id_)}">{text}</script>')
