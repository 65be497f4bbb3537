"""The value that an error about an argument keeps: itself where it is plain, else as text."""

from __future__ import annotations

import pickle
import threading
from signal import Signals

import pytest

from aionif.errors import NifArgumentError


@pytest.mark.parametrize("value", [None, True, 3, 2.5, 1j, "text", b"bytes"])
def test_a_plain_argument_value_is_kept(value: object) -> None:
    assert NifArgumentError(argument=0, value=value).value is value


@pytest.mark.parametrize("value", [threading.Lock(), [1, 2], bytearray(100), Signals.SIGSEGV])
def test_another_argument_value_is_kept_as_text(value: object) -> None:
    error = NifArgumentError(argument=2, value=value, problem="is not an integer")
    assert isinstance(error.value, str)
    assert str(error) == f"argument 2 is not an integer: got {error.value}"
    assert pickle.loads(pickle.dumps(error)).value == error.value


def test_an_argument_value_that_cannot_be_shown() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

    assert "Rude" in str(NifArgumentError(argument=0, value=Rude()))
    assert "int" in str(NifArgumentError(argument=0, value=10**10_000))
