"""The house's direction: a file imports only from its own or lower layers, and frameworks stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*(ROOT / "csrlhf").rglob("*.py"), ROOT / "train.py"])

LAYERS = {
    "types": 0, "errors": 0, "settings": 0, "state": 0, "terminal": 0, "ops": 0,
    "penalties": 1, "constraints": 1, "models": 1, "scorers": 1, "data": 1, "report": 1, "stats": 1,
    "refusals": 1,
    "runs.artifacts": 1,      # read by the rooms below: where results lie, and what they hash to
    "advantages": 2, "generation": 2,
    "training": 3, "tracking": 3,
    "evaluation": 4,
    "runs": 5, "config": 5, "sweeping": 5,
    "apps": 6, "api": 6, "chat": 6, "label": 6, "memory": 6, "sweep": 6, "__main__": 6, "train": 6,
    "refusals.__main__": 6,                          # starts the program in apps
    "runs.rehearsal": 6,                             # a program of its own, which the pipeline starts
}  # fmt: skip

CONFIG_FILES = {"train", "__main__", "api", "runs", "config", "apps", "sweeping"}
FENCES = {
    "hydra": CONFIG_FILES,
    "omegaconf": CONFIG_FILES,
    "lightning": {"data", "training", "tracking", "evaluation", "runs"},
    "wandb": {"tracking", "sweeping"},
    "optuna": {"sweeping"},
    "matplotlib": {"tracking", "report"},
}


def part(path: Path) -> str:
    """The room that a file lies in: ``csrlhf/ops/losses.py`` -> ``ops``."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    return inside[0] if len(inside) == 1 else room_of(".".join(inside))


def room_of(module: str) -> str:
    """``csrlhf.ops.losses`` -> ``ops``; a file of a room that has a layer of its own is one: ``runs.artifacts``."""
    words = module.split(".")
    own = ".".join(words[1:3])
    return own if own in LAYERS else words[1]


def imported(path: Path) -> set[str]:
    """All modules that a file imports, wherever in the file, ``from csrlhf import errors`` as ``csrlhf.errors``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            inside = [
                alias.name for alias in node.names if (ROOT / module.replace(".", "/") / f"{alias.name}.py").exists()
            ]
            names |= {f"{module}.{name}" for name in inside}
            if len(inside) < len(node.names):
                names.add(module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards_and_stay_in_their_rooms(path: Path) -> None:
    here = part(path)
    if here == "__init__":
        # What csrlhf offers by its own name is imported when it is asked for.
        assert imported(path) <= {"__future__", "importlib", "typing", "csrlhf.api", "csrlhf.generation"}
        return
    for name in imported(path):
        words = name.split(".")
        if words[0] == "csrlhf" and len(words) > 1 and words[1] != "__version__":
            there = room_of(name)
            assert LAYERS[there] <= LAYERS[here], f"{here} [{LAYERS[here]}] imports {name} [{LAYERS[there]}]"
        if words[0] in FENCES:
            assert here.split(".")[0] in FENCES[words[0]], f"{here} imports {name}"
        if here == "ops":
            assert words[0] != "csrlhf" or words[1] in {"ops", "types", "errors"}, f"ops imports {name}"


def test_every_room_has_a_layer() -> None:
    assert {part(path) for path in FILES} - {"__init__"} <= set(LAYERS)


@pytest.mark.parametrize("name", ["hydra", "wandb"])
def test_the_reader_of_imports_sees_what_the_fences_forbid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.py"
    file.write_text(f"def f():\n    from {name} import thing\n    return thing\n", encoding="utf-8")
    assert imported(file) == {name}
