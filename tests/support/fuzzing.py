"""Mutants of what workers send, given to what reads it here: none may harm this process.

`make fuzz` runs this for SECONDS. What a reader makes of a mutant is a value, or one of the errors
that it is allowed; it takes no more memory than its budget and some, and no more time than reading
as much would.
"""

from __future__ import annotations

import io
import os
import random
import struct
import sys
import time
import tracemalloc
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aionif.process import message
from aionif.process.plain import encode
from aionif.process.plain_reader import BudgetError, PlainError, decode, most_buffers
from aionif.process.remote_errors import rebuild

__all__ = ("Found", "copied", "fuzz_plain", "outcome_of")

ALLOWED = (PlainError, BudgetError, ImportError)
MOST = 1 << 18  # bytes of memory for one value
LONGEST = 5.0  # seconds of CPU for one mutant

CORPUS = Path(__file__).parents[1] / "corpus" / "plain"
"""Streams that have found something, or reach where mutants of the seeds seldom do."""

_MODULUS = (1 << 61) - 1


def _seeds() -> list[Any]:
    arrays: list[Any] = [array("d", [1.5, 2.5])]
    try:
        import numpy as np
    except ImportError:
        pass
    else:
        arrays += [np.arange(6.0).reshape(2, 3), np.ones(3, bool), np.float32(1), np.zeros((0, 2))]
    return [
        [None, True, False, 0, 127, -1, 1 << 62, 1 << 70, 1.5, 2j],
        ["", "text", "é" * 40, "\ud800", b"bytes", bytearray(b"x"), "x" * 5000, b"y" * 5000],
        {"a": [1, 2, (3, {4, 5})], (1, -1): {}, (1, -2): frozenset({frozenset({1}), 2})},
        [list(range(20)), [1.5] * 20, tuple(str(n) for n in range(20)), {n: n for n in range(20)}],
        {n * _MODULUS for n in range(9)},
        arrays,
        ("raised", "ValueError", "traceback", {"arguments": ("x", 1), "notes": ["n"], "text": "x"}),
        ("raised", "OSError", "t", {"arguments": (2, "No such file", "name"), "text": "x"}),
        ("raised", "UnicodeDecodeError", "t", {"arguments": ("utf-8", b"\xff", 0, 1, "reason")}),
    ]


@dataclass
class Found:
    """What fuzzing has come to: how many mutants, what became of them, and those that did harm."""

    rounds: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    problems: list[tuple[str, bytes]] = field(default_factory=list)


def copied(buffer: Any) -> bytes | bytearray:
    """Return a buffer as the reading side has it."""
    view = memoryview(buffer)
    return (bytes if view.readonly else bytearray)(view)


def outcome_of(stream: bytes, buffers: list[Any], most: int) -> tuple[Any, int]:
    """Return the error of reading this, or None; and the most memory that it took."""
    tracemalloc.start()
    try:
        value = decode(stream, buffers, most)
        _look_at(value)
    except ALLOWED as error:
        return type(error), tracemalloc.get_traced_memory()[1]
    else:
        return None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _look_at(value: Any) -> None:
    """Do what is done with a value that says that something was raised."""
    if isinstance(value, tuple) and len(value) == 4:
        str(rebuild(value[1], value[3], "", {}))


def _outcome_of_message(data: bytes) -> tuple[Any, int]:
    """The same of a whole message, as it lies in memory and in a file."""
    tracemalloc.start()
    try:
        stream, buffers = message.split(data, most_buffers(MOST))
        file = io.BufferedReader(io.BytesIO(data))
        again, others = message.split_file(file, len(data), most_buffers(MOST))  # type: ignore[arg-type]
        assert (again, others) == (bytes(stream), buffers)
        decode(again, others, MOST)
    except (*ALLOWED, ValueError, struct.error) as error:
        return type(error), tracemalloc.get_traced_memory()[1]
    else:
        return None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def fuzz_plain(seconds: float, seed: int) -> Found:
    """Read mutants for so many seconds. The same seed gives the same mutants."""
    chance = random.Random(seed)
    found = Found()
    corpus = [(bytes(s), [copied(b) for b in buffers]) for s, buffers in map(encode, _seeds())]
    corpus += [(path.read_bytes(), []) for path in sorted(CORPUS.glob("*"))]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        stream, buffers = chance.choice(corpus)
        mutant = _mutant(stream, chance, [other for other, _ in corpus])
        _note(
            found, mutant, lambda m=mutant, b=buffers: outcome_of(m, [type(x)(x) for x in b], MOST)
        )
        laid = message.Laid([mutant], buffers)
        whole = bytearray(laid.size)
        laid.write(whole)
        data = bytes(_mutant(bytes(whole[:64]), chance, [])) + bytes(whole[64:])
        _note(found, data, lambda d=data: _outcome_of_message(d))
    return found


def _note(found: Found, mutant: bytes, read: Any) -> None:
    start = time.process_time()
    try:
        outcome, peak = read()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it should not be
        found.problems.append((f"{type(error).__name__}: {error}", mutant))
        return
    name = "a value" if outcome is None else outcome.__name__
    found.rounds += 1
    found.outcomes[name] = found.outcomes.get(name, 0) + 1
    if peak > 4 * MOST + 8 * len(mutant):
        found.problems.append((f"took {peak} bytes", mutant))
    if time.process_time() - start > LONGEST:
        found.problems.append(("took too long", mutant))


_BYTES = (0, 1, 2, 127, 128, 191, 192, 193, 200, 208, 216, *range(216, 240), 255)


def _mutant(stream: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    data = bytearray(stream)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        at = chance.randrange(len(data) + 1)
        what = chance.randrange(7)
        if what == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif what == 1 and data:
            data[at % len(data)] = chance.choice(_BYTES)
        elif what == 2:
            del data[at : at + chance.randrange(1, 9)]
        elif what == 3:
            data[at:at] = bytes((chance.choice(_BYTES),)) * chance.choice((1, 2, 9, 200, 3000))
        elif what == 4:
            length = chance.choice((0, 1, 7, 255, 65535, 1 << 20, 1 << 31, (1 << 32) - 1))
            data[at : at + 4] = length.to_bytes(4, "little")
        elif what == 5:
            data[at:at] = data[at : at + chance.randrange(1, 64)]
        elif others:
            other = chance.choice(others)
            data[at:] = other[chance.randrange(len(other) + 1) :]
    return bytes(data)


def main() -> int:
    """Fuzz for SECONDS (60); print what it came to, and keep what does harm in the corpus."""
    seconds = float(os.environ.get("SECONDS", "60"))
    seed = int(os.environ.get("SEED", str(time.time_ns() % 1_000_000)))
    found = fuzz_plain(seconds, seed)
    print(f"seed {seed}: {found.rounds} mutants in {seconds:g} s: {found.outcomes}")
    for problem, mutant in found.problems[:20]:
        print(f"{problem}: {mutant[:200].hex()}")
        CORPUS.mkdir(parents=True, exist_ok=True)
        (CORPUS / f"{seed}-{hash(mutant) & 0xFFFFFFFF:08x}").write_bytes(mutant)
    return bool(found.problems)


if __name__ == "__main__":
    sys.exit(main())
