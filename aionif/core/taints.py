"""What earlier crashes may have damaged in this process, in words."""

from __future__ import annotations

from aionif.core.native import lib

__all__ = ("taints", "taints_now")

_TAINTS = {
    lib.AIONIF_TAINT_HEAP: "the heap is corrupt",
    lib.AIONIF_TAINT_LOCK: "a crashed call left a lock held",
    lib.AIONIF_TAINT_EXIT: "exit handlers have run",
}


def taints(bits: int) -> tuple[str, ...]:
    """Return what the bits of enum aionif_taint stand for, in words."""
    return tuple(text for bit, text in _TAINTS.items() if bits & bit)


def taints_now() -> tuple[str, ...]:
    """Return the words for this process as it is."""
    return taints(lib.aionif_taint())
