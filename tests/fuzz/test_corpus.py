"""What fuzzing has found, and what reaches far into the readers, does no harm (any more).

The inputs of `lane` go through the C target as well: corpus_lane, of `make test-c`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.readers import CORPORA, PYTHON

CORPUS = Path(__file__).parents[1] / "corpus"


@pytest.mark.parametrize("name", PYTHON)
def test_inputs_that_are_kept_do_no_harm(name: str) -> None:
    inputs = sorted((CORPUS / CORPORA.get(name, name)).iterdir())
    assert inputs
    for path in inputs:
        try:
            PYTHON[name](path.read_bytes())
        except Exception as problem:
            problem.add_note(f"the input is {path}")
            raise


def test_each_corpus_has_a_reader() -> None:
    assert {path.name for path in CORPUS.iterdir()} == {CORPORA.get(n, n) for n in PYTHON}
