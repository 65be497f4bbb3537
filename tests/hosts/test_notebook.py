"""A notebook, run by nbclient in a kernel of Jupyter's: cells await, crash, and go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests import support
from tests.hosts.serving import APPS, family, living

if TYPE_CHECKING:
    from pathlib import Path

FORMAT: Any = nbformat.v4

SETUP = """
import aionif
import work

libc = work.libc
thread = aionif.NifExecutor()
process = aionif.NifExecutor(isolation="process", max_workers=1)
"""

FINE = "await {tier}.execute_nif(libc.strlen, b'fine')"
CRASH = "await {tier}.execute_nif(libc.strlen, libc.ffi.cast('char *', 42))"
SLOW = "await {tier}.execute_nif(libc.usleep, 600_000_000, timeout=0.2)"

CELLS = (
    (FINE, None),
    (CRASH, "NifSignal"),
    (FINE, None),
    (SLOW, "NifTimeout"),
    (CRASH, "NifSignal"),
    (FINE, None),
)


@pytest.fixture
def kernel_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, in which kernels find the modules of the applications."""
    monkeypatch.setenv("PYTHONPATH", str(APPS))
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path


class Notebook:
    """Cells, run one after the other in one kernel."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str) -> str:
        """Return what the cell shows; what it raised is CellExecutionError."""
        cell = FORMAT.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        shown = (one.get("text") or one.get("data", {}).get("text/plain") for one in cell.outputs)
        return "".join(text for text in shown if text).strip()

    def fail(self, source: str) -> tuple[str, str]:
        """Return the name and the text of what the cell raises."""
        with pytest.raises(CellExecutionError) as failure:
            self.run(source)
        return failure.value.ename, failure.value.evalue


def _pid(notebook: Notebook) -> int:
    return int(notebook.run("import os; os.getpid()"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_cells_crash_and_the_kernel_runs_the_next(kernel_directory: Path) -> None:
    client: Any = NotebookClient(
        FORMAT.new_notebook(), timeout=support.DEADLINE, kernel_name="python3"
    )
    with client.setup_kernel(cwd=str(kernel_directory)):
        notebook = Notebook(client)
        notebook.run(SETUP)
        kernel = _pid(notebook)
        for tier in ("thread", "process"):
            _try_cells(notebook, tier)
        _try_a_callable_of_a_cell(notebook)
        assert _pid(notebook) == kernel
        members = family(kernel)
        assert len(members) > 2
    support.wait_until(lambda: not living(members), support.SETTLING)


def _try_cells(notebook: Notebook, tier: str) -> None:
    for source, error in CELLS:
        if error is None:
            assert notebook.run(source.format(tier=tier)) == "4"
        else:
            assert notebook.fail(source.format(tier=tier))[0] == error
    assert notebook.run("await aionif.execute_nif(libc.strlen, b'by default')") == "10"


def _try_a_callable_of_a_cell(notebook: Notebook) -> None:
    """A worker has no way to find it: it is refused before anything runs, with what to do."""
    notebook.run("def doubled(number):\n    return 2 * number")
    name, text = notebook.fail("await process.execute_nif(doubled, 4)")
    assert name == "NifArgumentError"
    assert "doubled" in text
    assert "is defined in a notebook" in text
    assert "module" in text  # which is where to put it
    assert notebook.run("await process.execute_nif(len, 'a module has it')") == "15"
