"""Every notebook runs from top to bottom."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "notebooks"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.ipynb")), ids=lambda p: p.name)
def test_notebook_runs(path, tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
