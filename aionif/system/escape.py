"""Text of others made fit to be shown: what a worker, a file or a peer wrote is not a command.

A terminal obeys control characters, a reader is misled by what changes the direction of text or
starts a new line. One place decides what of it is shown as it is: characters that Python calls
printable, and a space. Everything else becomes the escape that a string literal would have.

It imports nothing of the package, and nothing heavy: the zygote loads it by its path.
"""

from __future__ import annotations

__all__ = ("one_line", "printable")


def printable(text: str, keep: str = "") -> str:
    """Return `text` with what is not printable escaped, but for the characters in `keep`.

    Among what is escaped are newlines, lone surrogates, and controls of direction and of width.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text
    )


def one_line(text: str) -> str:
    """Return `text` as one printable line: runs of white space become one space."""
    return printable(" ".join(text.split()))
