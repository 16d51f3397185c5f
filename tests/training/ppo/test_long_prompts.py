"""One long prompt among many ends no run in its last iteration: it is an error at once, left out, or cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LONG = " ".join("abcdefghij" * 3)


@pytest.fixture
def words(ppo: list[str], tmp_path: Path) -> list[str]:
    """PPO for four iterations on nine prompts, the last of which is of 32 tokens."""
    table = tmp_path / "rows.jsonl"
    prompts = [f"{a} {b}" for a, b in ("ab", "cd", "ef", "gh", "ij", "ac", "bd", "eg")]
    table.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in [*prompts, LONG]), encoding="utf-8")
    return [*ppo, "ppo.iterations=4", "ppo.max_prompt_tokens=16"]


def test_it_is_an_error_before_anything_is_trained(
    words: list[str], tmp_path: Path, command_line: Callable[..., Any]
) -> None:
    for resume in ("false", "true"):
        done = command_line(*words, f"resume={resume}")
        assert done.code == 1
        assert "rows.jsonl:9: 32 tokens are more than ppo.max_prompt_tokens=16 has room for" in done.err
        assert "data.too_long=skip" in done.err
    assert not list((tmp_path / "a").rglob("*.ckpt"))


@pytest.mark.parametrize(("handling", "used", "truncated"), [("skip", 8, 0), ("truncate", 9, 1)])
def test_it_is_left_out_or_cut_and_counted(
    words: list[str], tmp_path: Path, command_line: Callable[..., Any], handling: str, used: int, truncated: int
) -> None:
    with pytest.warns(UserWarning, match=r"data.train: 1 of 9 prompts are .*rows.jsonl:9: "):
        done = command_line(*words, f"data.too_long={handling}")
    assert done.code == 0, done.err
    (record,) = {path.resolve() for path in (tmp_path / "a" / "ppo").glob("*/csrlhf.json")}
    rows = json.loads(record.read_text(encoding="utf-8"))["rows"]
    for split in ("train", "validation"):
        count = rows[split]["prompts"]
        assert (count["read"], count["used"], count["truncated"]) == (9, used, truncated)


def test_a_prompt_that_leaves_a_response_no_room_is_an_error_before_the_first_iteration(
    words: list[str], command_line: Callable[..., Any]
) -> None:
    """The models of these tests have 64 positions."""
    done = command_line(*words, "ppo.max_prompt_tokens=64", "rollout.max_new_tokens=40")
    assert done.code == 1
    assert (
        "rollout.max_new_tokens=40: a prompt of 32 tokens leaves room for 32, the policy has 64 positions" in done.err
    )
    assert "last good checkpoint" not in done.err
