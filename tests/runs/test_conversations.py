"""How conversations are written, from the command line: said once, recorded, and a part of the fingerprint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.data.chat_templates import furnish
from csrlhf.models.settings import ChatSettings
from csrlhf.runs.conversations import conversations_record, tell_clock
from tests.styles import styled, styled_folder

SFT = (
    "stage=sft", "model=pretrained", "model.policy.path=published", "data=jsonl", "data.train=rows.jsonl",
    "data.validation=held_out.jsonl", "sft.epochs=1", "sft.batch_size=2", "sft.accumulate=1", "trainer=cpu",
    "logger=none",
)  # fmt: skip


def test_the_clock_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = styled("llama3")
    furnish(tokenizer, ChatSettings(chat_date="2025-01-02"), "it")
    tell_clock("sft", tokenizer)
    assert (
        capsys.readouterr().out == "sft: the chat template reads the clock, and is told 2025-01-02 (model.chat_date)\n"
    )
    assert conversations_record(tokenizer) == {"chat": {"chat_date": "2025-01-02"}}
    other = styled("chatml")
    furnish(other, None, "it")
    tell_clock("sft", other)
    tell_clock("sft", None)
    assert capsys.readouterr().out == ""
    assert conversations_record(other) == conversations_record(None) == {}


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    styled_folder("llama3", tmp_path / "published")
    for file, word in (("rows", "Hi"), ("held_out", "Ho")):
        lines = [json.dumps({"prompt": f"{word} {row} <|eot_id|>", "response": f"ok {row}"}) for row in range(2)]
        (tmp_path / f"{file}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    template = tmp_path / "mine.jinja"
    template.write_text((tmp_path / "published" / "chat_template.jinja").read_text(encoding="utf-8"), encoding="utf-8")
    words = (*SFT, "model.system_prompt=Be brief.", "model.chat_template=mine.jinja")

    done = command_line(*words)
    assert done.code == 0, done.err
    assert done.out.count("reads the clock, and is told 2024-07-26") == 1
    record = json.loads((tmp_path / "artifacts" / "sft" / "csrlhf.json").read_text(encoding="utf-8"))
    assert record["chat"] == {"system_prompt": "Be brief.", "chat_date": "2024-07-26"}
    stops = json.loads((tmp_path / "artifacts" / "sft" / "generation_config.json").read_text(encoding="utf-8"))
    assert stops["eos_token_id"] == [
        styled("llama3").convert_tokens_to_ids(one) for one in ("<|end_of_text|>", "<|eot_id|>")
    ]

    template.write_text(template.read_text(encoding="utf-8") + "{# other words #}", encoding="utf-8")
    again = command_line(*words)
    assert again.code == 0, again.err
    changed = json.loads((tmp_path / "artifacts" / "sft" / "csrlhf.json").read_text(encoding="utf-8"))
    assert changed["fingerprint"] != record["fingerprint"]  # what the file says, not what it is called

    for word, complaint in (
        (
            "model.chat_template_kwargs={enable_thinking: false}",
            "the chat template of published reads no such argument",
        ),
        ("model.chat_template_kwargs=3", "must be a mapping from names to values"),
        ("model.chat_template=nosuch", "is neither one of roles, plain, safe_rlhf nor a readable file"),
        ("model.thought=strip", "takes one of keep, score, drop, or null"),
    ):
        failed = command_line(*SFT, word)
        assert failed.code == 1
        assert failed.err.count("\n") == 1
        assert complaint in failed.err
