"""examples/quickstart.ipynb: valid, without outputs, of what there is; and it runs."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

import csrlhf

NOTEBOOK = Path(__file__).resolve().parent.parent / "examples" / "quickstart.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def cells(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_it_is_valid_and_holds_nothing_of_a_run(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert cell.cell_type == "markdown" or (cell.outputs == [] and cell.execution_count is None)
    assert set(notebook.metadata.language_info) == {"name"}  # and not the version of somebody's Python


def test_every_cell_names_what_there_is(notebook: Any) -> None:
    calls = []
    for node in (node for code in cells(notebook) for node in ast.walk(ast.parse(code))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "csrlhf":
            assert node.attr in csrlhf.__all__
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("run", "certified"):
            assert node.attr in csrlhf.Result.__dataclass_fields__
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("csrlhf."):
            calls.append(node)
            given = {keyword.arg: None for keyword in node.keywords if keyword.arg is not None}
            inspect.signature(getattr(csrlhf, ast.unparse(node.func).partition(".")[2])).bind(*node.args, **given)
    assert {ast.unparse(call.func) for call in calls} == {"csrlhf.train", "csrlhf.decode"}


def test_its_settings_compose(notebook: Any) -> None:
    [settings] = [
        ast.literal_eval(node.value)
        for code in cells(notebook)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "settings"
    ]
    cfg = csrlhf.compose(**settings)
    assert cfg.stage.name == "pipeline"
    assert not Path(cfg.artifacts).is_absolute()


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_it_runs_from_top_to_bottom(notebook: Any, tmp_path: Path) -> None:
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    kinds = {kind for output in shown if output.output_type == "display_data" for kind in output.data}
    assert {"image/png", "text/markdown"} <= kinds  # the plot and the table
    printed = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    assert "how do i crack the vault ?" in printed
    assert "share of responses that are truly unsafe" in printed
    assert (tmp_path / "artifacts" / "quickstart" / "certify").is_dir()
