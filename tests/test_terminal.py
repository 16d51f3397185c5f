"""Data are never markup: what stands in a file, or is a name of the user's, is shown as it stands, wherever it is."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csrlhf.apps import label
from csrlhf.apps.chat import Chat
from csrlhf.data.jsonl import JsonlData
from csrlhf.data.summary import Ruler, print_summary, summarise
from csrlhf.evaluation.answers.records import Answer, with_id, write_answers
from csrlhf.evaluation.cost_model.evaluation import evaluate_output
from csrlhf.evaluation.cost_model.page import cost_page, print_result
from csrlhf.evaluation.cost_model.result import CostResult
from csrlhf.evaluation.policies.analysis import Settings, analyse
from csrlhf.evaluation.policies.page import sections
from csrlhf.evaluation.policies.table import ConstraintVerdict, closing_section
from csrlhf.report import print_blocks
from csrlhf.stats.cost_report import cost_report, of_split
from csrlhf.stats.drift import Drift
from csrlhf.terminal import plain_console, printable
from csrlhf.types import LabelledRow

ROOT = Path(__file__).resolve().parent.parent
MARK = "[bold]x[/red]:smile:"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_one_place_makes_consoles() -> None:
    files = [*(ROOT / "csrlhf").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    assert [name for name, text in texts.items() if re.search(r"(?<!plain_)\bConsole\(", text)] == [
        "csrlhf/terminal.py"
    ]
    assert [name for name, text in texts.items() if "rich.markup" in text or re.search(r"\bfrom_markup\b", text)] == []


def test_a_console_shows_words_as_they_stand() -> None:
    console = plain_console(file=StringIO(), width=80)
    console.print(MARK)
    assert console.file.getvalue() == f"{MARK}\n"  # type: ignore[attr-defined]  # the StringIO above


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2J\x07b\r\nc\td\x9b1m é 👩\u200d🚀") == "a[2Jb\nc\td1m é 👩\u200d🚀"
    assert printable("safe \u202etxet\u202c\x1b[0m", "?") == "safe ?txet??[0m"


def test_an_evaluation_s_categories_attacks_and_policies(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(policy: str, prompt: int) -> Answer:
        kind: dict[str, Any] = {"category": MARK, "attack": f"{MARK}2", "reward": 0.0}
        costs: dict[str, Any] = {"cost_logits": {"harm": -1.0}, "violations": {"harm": 0.0}}
        return with_id(Answer("", policy, f"p{prompt}", 0, "ask", "yes", **kind, **costs))

    policies = {name: [answer(name, number) for number in range(4)] for name in ("sft", f"{MARK}3")}
    found = analyse(policies, Settings(benign=(), harmful=(MARK,)))
    print_blocks(sections(found, {name: {"reward": 0.0} for name in policies}))
    out = capsys.readouterr().out
    assert all(name in out for name in (f" {MARK} ", f" {MARK}2 ", f" {MARK}3 ", f"Arena: {MARK}3 against sft"))


def test_a_cost_model_s_categories_constraints_and_files(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [LabelledRow("p", f"r {i}", (float(i % 2),), {"category": MARK}) for i in range(40)]
    logits = np.array([[1.0 if i % 2 else -1.0] for i in range(40)])
    numbers = of_split("test", cost_report((f"{MARK}2",), 1 / (1 + np.exp(-logits)), rows, rows))
    one = evaluate_output(f"{MARK}2", logits[:, 0], 1.0, rows, 0, 0.05, 0.05)
    drift = {f"{MARK}3": [Drift(f"score/{MARK}", 0.5, 0.25, 40, "population stability index")]}
    result = CostResult("cost", "test", rows, [one], numbers, drift, [], {})
    assert MARK in cost_page(result, {}).html()
    print_result(result)
    out = capsys.readouterr().out
    assert f"{MARK}2: cost model on test" in out
    assert all(f" {name} " in out for name in (MARK, f"{MARK}3"))


def test_a_closing_table_s_policies_and_constraints(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = ConstraintVerdict(f"{MARK}2", 0.012, 0.021, 0.05, 0.95, 660)
    print_blocks([closing_section({MARK: {"reward": 1.0}}, [verdict])])
    out = capsys.readouterr().out
    assert f" {MARK} " in out
    assert f"FEASIBLE: {MARK}2 0.012" in out


def test_a_summary_s_constraints_prompts_and_places(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"prompt": "{MARK}", "response": "{MARK}2", "label": "Unsafe"}}\n')
    source = JsonlData(str(tmp_path / "x.jsonl"), constraints=[f"{MARK}3"])
    summary = summarise(source, lambda kind: Ruler(lambda rows: [1 for _ in rows], "words", None, ""), seed=0)
    file = StringIO()
    print_summary(summary, source.constraints, plain_console(file=file, width=100))
    assert all(f" {name}" in file.getvalue() for name in (MARK, f"{MARK}2", f"{MARK}3 ", f"Unsafe ({MARK}3)"))


def test_a_file_of_labels_may_be_called_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_answers(tmp_path / "a.jsonl", [with_id(Answer("", "p", "1", 0, MARK, f"{MARK}2"))], {})
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    assert label.main([str(tmp_path / "a.jsonl"), "--rater", "anna", "--out", str(tmp_path / f"{MARK}.csv")]) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in (f"{MARK}\n", f"{MARK}2\n", f"{MARK}.csv\n"))


def test_a_chat_s_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    chat = Chat(None)  # type: ignore[arg-type]  # a note asks nothing of the conversation
    monkeypatch.setattr(chat, "terminal", True)
    chat._take(f"/{MARK}")
    assert f"/{MARK}: there is no such command" in capsys.readouterr().out


@pytest.mark.parametrize("name", [r"$\frac{$", "a$b$c"])
def test_a_figure_s_names_are_no_formulas(name: str, tmp_path: Path) -> None:
    from csrlhf.report import interval_figure
    from csrlhf.stats.intervals import Interval
    from csrlhf.tracking.plots import Panel, draw

    figure = interval_figure("x", {name: {name: Interval(0.5, 0.1, 0.9, 2, 2)}}, "t", "c", "a")
    assert [text.get_text() for text in _texts(figure.make())].count(name) >= 2  # in the legend, at the axis
    assert figure.light.startswith("data:image/svg+xml")
    panel = Panel("Cost", ["constraint/*/cost"])
    assert len(draw([{"step": 0.0, f"constraint/{name}/cost": 0.4}], [panel], tmp_path)) == 2


def _texts(figure: Any) -> list[Any]:
    from matplotlib.text import Text

    found: Callable[..., list[Any]] = figure.findobj
    return [text for text in found(Text) if not text.get_parse_math()]
