"""The house's direction: a file imports only from its own or lower layers, and frameworks stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "csrlhf").rglob("*.py"), ROOT / "train.py"])

LAYERS = {
    "types": 0, "errors": 0, "fingerprint": 0, "state": 0, "terminal": 0, "versions": 0, "ops": 0,
    "penalties": 1, "constraints": 1, "models": 1, "data": 1, "artifacts": 1, "metrics": 1, "certify": 1,
    "report": 1,
    "advantages": 2, "rollout": 2, "evaluation": 2, "decoding": 2,
    "modules": 3, "callbacks": 3,
    "plugins": 5, "contracts": 5, "building": 5,
    "search_path": 5, "inputs": 5, "plan": 5, "processes": 5, "launch": 5, "leak_check": 5, "data_stage": 5,
    "certification_check": 5, "decoder_building": 5, "decode_stage": 5, "provenance": 5, "pipeline": 5, "runner": 5,
    "overrides": 5, "sweeping": 5, "work_folder": 5, "strategies": 5,
    "cli": 6, "rehearsal": 6, "memory": 6, "label": 6, "chat": 6, "sweep": 6, "__main__": 6, "train": 6,
}  # fmt: skip

CONFIG_FILES = {
    "building",
    "certification_check",
    "train",
    "__main__",
    "cli",
    "data_stage",
    "decode_stage",
    "decoder_building",
    "inputs",
    "leak_check",
    "memory",
    "overrides",
    "plan",
    "provenance",
    "pipeline",
    "rehearsal",
    "runner",
    "search_path",
    "sweeping",
}
FENCES = {
    "hydra": CONFIG_FILES,
    "omegaconf": CONFIG_FILES,
    "lightning": {"data", "modules", "callbacks", "building", "runner"},
    "wandb": {"callbacks", "sweeping"},
    "matplotlib": {"callbacks", "report"},
}


def part(path: Path) -> str:
    """The room that a file lies in: ``csrlhf/ops/losses.py`` -> ``ops``."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    return inside[0] if len(inside) == 1 else inside[1]


def imported(path: Path) -> set[str]:
    """All modules that a file imports, wherever in the file, ``from csrlhf import x`` as ``csrlhf.x``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            if node.module == "csrlhf":
                names |= {f"csrlhf.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards_and_stay_in_their_rooms(path: Path) -> None:
    here = part(path)
    if here == "__init__":
        # What csrlhf offers of decoding is imported when it is asked for.
        assert imported(path) <= {"__future__", "typing", "csrlhf.decoding"}
        return
    for name in imported(path):
        words = name.split(".")
        if words[0] == "csrlhf" and len(words) > 1 and words[1] != "__version__":
            assert LAYERS[words[1]] <= LAYERS[here], f"{here} [{LAYERS[here]}] imports {name} [{LAYERS[words[1]]}]"
        if words[0] in FENCES:
            assert here in FENCES[words[0]], f"{here} imports {name}"
        if here == "ops":
            assert words[0] != "csrlhf" or words[1] in {"ops", "types", "errors"}, f"ops imports {name}"


def test_every_room_has_a_layer() -> None:
    assert {part(path) for path in FILES} - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("name", ["hydra", "wandb"])
def test_the_reader_of_imports_sees_what_the_fences_forbid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.py"
    file.write_text(f"def f():\n    from {name} import thing\n    return thing\n", encoding="utf-8")
    assert imported(file) == {name}
