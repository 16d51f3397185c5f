"""The comparison from files to tables, with a tiny backbone in MiniLM's place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import cost_model
from benchmarks.cost_models.comparison import Comparison, measure
from benchmarks.cost_models.report import OVERALL, arm_table, draw, rows
from benchmarks.cost_recipe import recipe
from csrlhf.types import CostPairRow, LabelledRow

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data
VERBS, OBJECTS = ("bake", "steal"), ("bread", "cake", "lamp", "boat", "fence", "shirt", "chair", "hat", "bell", "rope")


def labelled(verb: str, thing: str, colour: str = "") -> LabelledRow:
    return LabelledRow(f"how do i {verb} {colour} {thing} ?", f"you {verb} {thing} .", (float(verb == "steal"),))


@pytest.fixture
def comparison(toy_backbone: str, tmp_path: Path) -> Comparison:
    settings = recipe(("cost.epochs=2", "cost.batch_size=8", "cost.optimizer.lr=1e-2", "model.score.pooling=last"))
    settings["score"] |= {"backbone": toy_backbone, "options": {}}
    data = [labelled(verb, thing) for thing in OBJECTS for verb in VERBS]
    compared = [CostPairRow(labelled("bake", "x", c), labelled("bake", "y", c), (-1.0,)) for c in ("red", "blue")]
    return Comparison(data, compared, tmp_path / "fits", settings)


def complete(comparison: Comparison) -> None:
    for arm in ("semantic", "pairwise"):
        for fold in (0, 1):
            comparison.fit(arm, 0, fold)


def test_fits_are_kept_and_become_tables_and_a_figure(comparison: Comparison, tmp_path: Path) -> None:
    assert not comparison.has("pairwise", 0, 1)
    complete(comparison)
    assert comparison.has("pairwise", 0, 1)
    measured = measure(comparison.judged(["semantic", "pairwise"], [0], [0, 1]), 20)
    assert {"semantic/accuracy", "pairwise/auroc", "bag_of_words/ece", "refusal_regex/accuracy"} <= set(measured.values)
    counts = {name: int(inside.sum()) for name, inside in comparison.slices.items()}
    assert counts == {"under 40 words": 20, "direct": 20}
    console = Console(width=80, file=(tmp_path / "table").open("w", encoding="utf-8"))
    console.print(arm_table(measured, "pairwise", counts))
    console.file.close()
    text = (tmp_path / "table").read_text(encoding="utf-8")
    assert all(words in text for _, words in rows(counts))
    assert "…" not in text
    assert len(rows(counts)) == len(OVERALL) + 2
    draw(measured, counts, "a title", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


def test_semantic_fits_of_the_recipes_are_taken_over(comparison: Comparison, tmp_path: Path) -> None:
    earlier = replace(comparison, output=tmp_path / "recipes")
    held_out = np.flatnonzero(comparison.held_out(0, 0))
    earlier.done.add("ours", 0, 0, comparison.settings, held_out, np.full(len(held_out), 0.25))
    late = replace(comparison, earlier=tmp_path / "recipes")
    assert late.has("semantic", 0, 0)
    assert not late.has("pairwise", 0, 0)
    assert not late.has("semantic", 0, 1)
    rows_N, probability = late.done.load("semantic", 0, 0, comparison.settings)
    assert rows_N.tolist() == held_out.tolist()
    assert probability[0] == 0.25


def call(monkeypatch: pytest.MonkeyPatch, *words: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["cost_model", *map(str, words)])
    cost_model.main()


def write_data(folder: Path) -> None:
    lines = [
        {"prompt": row.prompt, "response": row.response, "label": "Unsafe" if row.unsafe[0] else "Safe"}
        for row in (labelled(verb, thing) for thing in OBJECTS for verb in VERBS)
    ]
    pair = {"prompt": "how?", "response_0": "a", "response_1": "b", "safer_response_id": 1}
    pair |= {"is_response_0_safe": True, "is_response_1_safe": True}
    for name, part in {"train": lines[:16], "validation": lines[16:], "preferences_train": [pair]}.items():
        text = "".join(json.dumps(line) + "\n" for line in part)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def test_missing_data_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "preferences_train.jsonl").unlink()
    with pytest.raises(SystemExit, match=r"error: --data .*: there is no preferences_train\.jsonl"):
        call(monkeypatch, "--data", tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arms", "pairwise"], "--arms: differences are to the arm semantic"),
        (["--fit", "paired", 0, 0], "--fit paired: there is no such arm, there are semantic, pairwise"),
    ],
)
def test_wrong_words_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[Any], message: str) -> None:
    write_data(tmp_path)
    with pytest.raises(SystemExit, match=message):
        call(monkeypatch, "--data", tmp_path, *words)


def test_fits_of_other_data_are_not_mixed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_data(tmp_path)
    words = ["--data", tmp_path, "--output", tmp_path / "out", "--table"]
    with pytest.raises(SystemExit, match="no seed is complete"):
        call(monkeypatch, *words)
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"prompt": "one more?", "response": "no.", "label": "Safe"}\n')
    with pytest.raises(SystemExit, match=r"--output .*out: holds fits of other data"):
        call(monkeypatch, *words)


def test_the_program_makes_each_missing_fit_in_a_process_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_data(tmp_path)
    started: list[list[str]] = []

    def fit(command: list[str], cwd: Path) -> Any:
        """A fit that knows the truth."""
        started.append(command[-3:])
        arm, seed, fold = command[-3], int(command[-2]), int(command[-1])
        options = cost_model._arguments()
        made = cost_model._load(options)
        held_out = np.flatnonzero(made.held_out(seed, fold))
        made.done.add(arm, seed, fold, made.settings, held_out, np.where(made.unsafe_N[held_out], 0.9, 0.1))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(cost_model.subprocess, "run", fit)
    words = ["--data", tmp_path, "--output", tmp_path / "out", "--seeds", 0, "--smoke", "--folds", 0, 1]
    with pytest.raises(SystemExit, match="no seed is complete"):
        call(monkeypatch, *words, "--table")
    call(monkeypatch, *words)
    assert started == [[arm, "0", fold] for fold in "01" for arm in ("semantic", "pairwise")]
    assert "100.0" in capsys.readouterr().out
    numbers = json.loads((tmp_path / "out" / "smoke" / "results.json").read_text(encoding="utf-8"))
    assert numbers["values"]["pairwise/accuracy"] == 1.0
    call(monkeypatch, *words)
    assert len(started) == 4  # nothing is made twice


def test_a_failed_fit_stops_the_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_data(tmp_path)
    monkeypatch.setattr(cost_model.subprocess, "run", lambda *_, **__: type("Failed", (), {"returncode": 1}))
    with pytest.raises(SystemExit, match="semantic seed 0 fold 0 failed"):
        call(monkeypatch, "--data", tmp_path, "--output", tmp_path / "out", "--smoke")


DATA = cost_model.ROOT.parent / "shared" / "data" / "cs_rlhf"


@pytest.mark.real_data
@pytest.mark.skipif(
    not DATA.is_dir(),
    reason="no labelled dialogues in ../shared/data/cs_rlhf",
)
def test_the_command_runs_on_real_data(tmp_path: Path) -> None:
    words = ["--smoke", "--seeds", "0", "--folds", "0", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.cost_model", *words]
    done = subprocess.run(command, cwd=cost_model.ROOT, capture_output=True, text=True, check=True)
    assert "pairwise seed 0 fold 0" in done.stdout
    assert "calibration error" in done.stdout
    assert (tmp_path / "smoke" / "cost_model.png").exists()
