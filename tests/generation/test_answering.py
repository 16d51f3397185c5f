"""A file answered group by group, and what follows when it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from csrlhf.generation.records import Question, answered

QUESTIONS = [Question(name, name, f"file:{row}") for row, name in enumerate("abcde", 1)]


def test_groups_follow_what_stands_and_come_out_the_same(make: Any, tmp_path: Path) -> None:
    decoder = make(n=2, batch_size=4)  # two prompts at a time
    seen = [len(records) for records in answered(decoder, QUESTIONS, tmp_path / "whole", None, candidates=False)]
    assert seen == [0, 2, 4, 5]
    whole = (tmp_path / "whole").read_text(encoding="utf-8")
    groups = answered(decoder, QUESTIONS, tmp_path / "stopped", None, candidates=False)
    assert [len(next(groups)) for _ in range(2)] == [0, 2]
    groups.close()
    assert (tmp_path / "stopped").read_text(encoding="utf-8") == "".join(whole.splitlines(keepends=True)[:2])
    again = answered(decoder, QUESTIONS, tmp_path / "stopped", None, candidates=False)
    assert [len(records) for records in again] == [2, 4, 5]
    assert (tmp_path / "stopped").read_text(encoding="utf-8") == whole


def test_each_line_names_the_settings_and_the_certificate(make: Any, tmp_path: Path) -> None:
    decoder = make(n=3, threshold=0.5, seed=7)
    *_, records = answered(decoder, QUESTIONS[:1], tmp_path / "file", {"sha256": "c" * 64}, candidates=True)
    [line] = map(json.loads, (tmp_path / "file").read_text(encoding="utf-8").splitlines())
    assert line == records[0]
    assert len(line["candidates"]) == 3
    settings = {"rule": "best", "n": 3, "threshold": {"harm": 0.5}, "seed": 7, "certificate": "c" * 64}
    assert settings.items() <= line.items()
