"""The figures of README and docs: what is written from measurements, and what is not measured twice."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import csrlhf
from benchmarks import docs_figures, toy
from csrlhf.runs.artifacts import write_json

ROOT = Path(__file__).resolve().parent.parent.parent


def seed(unsafe: float, verdict: str = "CERTIFIED", machine: str = "A CPU, 2 threads, torch 2") -> dict[str, Any]:
    """What one seed measured: 0.5 everywhere but for the unsafe answers of the trained policy."""
    metrics = {f"eval/{of}{key}": 0.5 for of in ("", "sft/") for key in docs_figures.ROWS.values()}
    columns = {name: metrics | {f"eval/{toy.SEEN}": unsafe} for name in ("default", "none", "SFT")}
    for bar in toy.BARS:
        columns.setdefault(bar.column, {}).setdefault(bar.metric, 0.5)
    curves = {key: [0.0, 8.0, 8.0] for key in docs_figures.CURVES.values()} | {docs_figures.THRESHOLD: [0.03]}
    return {"verdict": verdict, "machine": machine, "commit": "abcdef0123", "columns": columns, "curves": curves}


@pytest.fixture
def seeds() -> dict[str, dict[str, Any]]:
    return {"0": seed(0.012), "1": seed(0.034, "INCONCLUSIVE"), "2": seed(0.0051, machine="Another, 1 thread, torch 2")}


def test_results_are_ranges_over_the_seeds_with_their_machines(seeds: dict[str, Any]) -> None:
    text = docs_figures.results(seeds)
    assert "| unsafe answers to harmful prompts | 50.0 % | 0.5 to 3.4 % |" in text
    assert text.count("\n| ") == 1 + len(docs_figures.ROWS) - 1
    assert "CERTIFIED on 2 of 3, INCONCLUSIVE on 1 of 3" in text
    assert "seeds 0, 1, 2; A CPU, 2 threads, torch 2; Another, 1 thread, torch 2; commit abcdef0" in text


def test_bars_say_which_is_missed(seeds: dict[str, Any]) -> None:
    line = "| selected policy: unsafe, seen framings | <= 0.05 | 0.012 | 0.034 | 0.005 |"
    assert line in docs_figures.bars(seeds)
    seeds["1"] = seed(0.06)
    assert line.replace("0.034", "0.060 (missed)") in docs_figures.bars(seeds)


def test_blocks_go_between_their_markers_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "docs" / "inner").mkdir(parents=True)
    pages = [tmp_path / "README.md", tmp_path / "docs" / "inner" / "page.md", tmp_path / "docs" / "plain.md"]
    texts = [
        "a\n<!-- figures: x -->\nold\n\nold\n<!-- /figures: x -->\nb\n",
        "<!-- figures: y -->\n<!-- /figures: y -->\n",
        "c\n",
    ]
    for page, text in zip(pages, texts, strict=True):
        page.write_text(text, encoding="utf-8")
    for _ in range(2):
        assert docs_figures.write(tmp_path, {"x": r"new \1", "y": "z"}) == pages[:2]
        assert pages[0].read_text(encoding="utf-8") == "a\n<!-- figures: x -->\nnew \\1\n<!-- /figures: x -->\nb\n"
        assert pages[1].read_text(encoding="utf-8") == "<!-- figures: y -->\nz\n<!-- /figures: y -->\n"
    with pytest.raises(ValueError, match="there is no block y; there are x"):
        docs_figures.write(tmp_path, {"x": "new"})


def test_the_pages_have_room_for_every_block(tmp_path: Path) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for name in docs_figures.BLOCKS:
        assert f"<!-- figures: {name} -->\n" in text
        assert f"<!-- /figures: {name} -->" in text
    assert f"]({docs_figures.IMAGE})" in text


def test_kept_measurements_write_the_pages_without_a_run(
    seeds: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "figures.json", seeds)
    (tmp_path / "README.md").write_text("<!-- figures: results -->\n<!-- /figures: results -->\n", encoding="utf-8")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(docs_figures, "measure", lambda *_: pytest.fail("measured again"))
    monkeypatch.setattr(
        sys, "argv", ["docs_figures", "--from", str(tmp_path / "figures.json"), "--root", str(tmp_path)]
    )
    assert docs_figures.main() == 0
    assert docs_figures.results(seeds) in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / docs_figures.IMAGE).read_bytes().startswith(b"\x89PNG")


def test_a_seed_that_stands_keeps_its_machine_and_a_new_run_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    created, certified = ["first"], []

    def run_seed(number: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
        for name in ("default", "none"):
            (folder / "ppo" / name).mkdir(parents=True, exist_ok=True)
            write_json(folder / "ppo" / name / "csrlhf.json", {"created": created[-1], "git_commit": "abc"})
        keys = (*docs_figures.CURVES.values(), docs_figures.THRESHOLD)
        lines = [",".join(["step", *keys]), *(",".join([str(step)] + ["0.03"] * len(keys)) for step in range(3))]
        (folder / "ppo" / "default" / "history.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {"default": {"x": float(number)}}

    def train(overrides: list[str], **settings: Any) -> csrlhf.Result:
        certified.append(settings)
        write_json(tmp_path / "certificate.json", {"verdict": "CERTIFIED"})
        return csrlhf.Result("certify", tmp_path, {}, {"certify": tmp_path})

    monkeypatch.setattr(toy, "run_seed", run_seed)
    monkeypatch.setattr(csrlhf, "train", train)
    monkeypatch.setattr(docs_figures, "machine", lambda: f"machine {len(certified)}")
    first = docs_figures.measure(4, tmp_path / "seed4", ["experiment=smoke"])
    assert first["machine"] == "machine 1"
    assert first["curves"]["train/reward"] == [0.03] * 3
    assert certified[0]["inputs"] == {"ppo": tmp_path / "seed4" / "ppo" / "default"}
    assert docs_figures.measure(4, tmp_path / "seed4", []) == json.loads(json.dumps(first))
    assert len(certified) == 1
    created.append("second")
    assert docs_figures.measure(4, tmp_path / "seed4", [])["machine"] == "machine 2"


def test_the_machine_has_its_threads() -> None:
    assert "1 thread, torch " in docs_figures.machine()  # tests run on one
