"""Every notebook is executed as it stands, on a local stage of its own."""

import importlib.util
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from pipelines.local import cloud

HILLSTROM = Path(__file__).resolve().parents[3] / "shared/data/hillstrom/hillstrom.csv.xz"
NEEDS = {"03_see_your_products": ("torch", "onnx", "onnxruntime", "PIL")}
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path):
    missing = [n for n in NEEDS.get(path.stem, ()) if importlib.util.find_spec(n) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed: make images")
    notebook = nbformat.read(path, as_version=4)
    os.environ["NEXTBEST_NOTEBOOK_ROOT"] = str(tmp_path)
    if HILLSTROM.exists():
        os.environ.setdefault("NEXTBEST_HILLSTROM", str(HILLSTROM))
    try:
        done = NotebookClient(notebook, timeout=300, kernel_name="python3").execute(
            cwd=str(tmp_path)
        )
        code = [cell for cell in done.cells if cell.cell_type == "code"]
        assert all(cell.execution_count for cell in code)
        outputs = [output for cell in code for output in cell.outputs]
        assert outputs
        assert not [output for output in outputs if output.output_type == "error"]
    finally:
        del os.environ["NEXTBEST_NOTEBOOK_ROOT"]
        cloud.down(tmp_path)
