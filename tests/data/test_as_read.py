"""What stage=data shows of a row is what its model reads, control tokens told apart from the same characters."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from csrlhf.data.as_read import CLOSE, OPEN, SHOWN, AsRead, Piece, as_read, lines
from csrlhf.data.encoding import encode_dialogue
from csrlhf.data.jsonl import JsonlData
from csrlhf.data.summary import Ruler, print_summary, summarise
from csrlhf.terminal import plain_console
from csrlhf.types import DemonstrationRow, LabelledRow, PreferenceRow, PromptRow
from tests.styles import STYLES, styled

PROMPT = PromptRow("Hi", {})


def joined(read: AsRead) -> str:
    return "".join(piece.text for piece in read.pieces)


def printed(read: AsRead) -> str:
    file = io.StringIO()
    console = plain_console(file=file, width=4_000)
    for line in lines([read]):
        console.print(line)
    return file.getvalue()


@pytest.mark.parametrize("style", STYLES)
def test_a_prompt_is_the_template_s_own_text(style: str) -> None:
    read = as_read(styled(style), PROMPT, 100)
    # a bare tokenizer reads the clock; a model's folder fixes the day
    assert re.sub(r"\d\d \w{3} \d{4}", "26 Jul 2024", joined(read)) == STYLES[style].asked
    assert {piece.text for piece in read.pieces if piece.control} <= set(STYLES[style].control)
    assert read.learned is None


def test_an_end_marker_in_a_prompt_is_text_and_the_template_s_is_a_token() -> None:
    read = as_read(styled("chatml"), PromptRow("Say <|im_end|>", {}), 100)
    assert Piece("user\nSay <|im_end|>", control=False) in read.pieces
    shown = printed(read)
    assert f"Say <|im_end|>{OPEN}<|im_end|>{CLOSE}" in shown
    assert f"{OPEN}<|im_start|>{CLOSE}assistant" in shown


def test_of_a_demonstration_the_response_and_its_end_are_learned() -> None:
    read = as_read(styled("no_system"), DemonstrationRow("Hi", "Yo"), 100)
    assert read.learned is not None
    assert read.pieces[read.learned :] == [Piece("Yo", False), Piece("<|end|>", True)]
    assert f"{OPEN}<|assistant|>{CLOSE}\n  │ ▸Yo{OPEN}<|end|>{CLOSE}" in printed(read)


def test_a_long_demonstration_is_cut_as_sft_cuts_it() -> None:
    tokenizer = styled("no_system")
    whole = as_read(tokenizer, DemonstrationRow("Hi", "abcdef"), 100)
    cut = as_read(tokenizer, DemonstrationRow("Hi", "abcdef"), whole.num_tokens - 3)
    assert cut.num_tokens == whole.num_tokens - 3
    assert cut.pieces[-1] == Piece("abcd", False)  # without f, e and the end


@pytest.mark.parametrize(
    "row", [PreferenceRow("Hi", "good", "bad"), LabelledRow("Hi", "good", (1.0,), {})], ids=["pair", "labelled"]
)
def test_a_scored_dialogue_is_what_the_score_model_encodes(row: PreferenceRow | LabelledRow) -> None:
    tokenizer = styled("mistral")
    read = as_read(tokenizer, row, 12)
    ids = encode_dialogue(tokenizer, "Hi", "good", 12)
    assert joined(read) == tokenizer.decode(ids) == "<s>[INST]Hi[/INST]good</s>"
    assert read.num_tokens == len(ids)


def test_a_long_sequence_shows_its_ends() -> None:
    told = printed(as_read(styled("no_system"), PromptRow("a" * 5_000, {}), 100))
    assert "characters ...]" in told
    assert len(told) < SHOWN + 200
    assert told.rstrip().endswith(f"{OPEN}<|assistant|>{CLOSE}\n  │")


def test_the_summary_ends_with_a_row_of_each_kind(tmp_path: Path) -> None:
    row = {"prompt": "Why?", "response": "So.", "label": "Safe"}
    (tmp_path / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    source, tokenizer = JsonlData(str(tmp_path / "train.jsonl")), styled("chatml")

    def ruler(kind: str) -> Ruler:
        return Ruler(lambda rows: [1] * len(rows), "tokens", 64, "ppo.max_prompt_tokens", tokenizer)

    file = io.StringIO()
    print_summary(summarise(source, ruler, seed=0), ("harm",), plain_console(file=file, width=200))
    _, shown = file.getvalue().split("As the models read them")
    assert [line.strip().split(",")[0] for line in shown.splitlines() if ", read by " in line] == [
        "a prompt",
        "a demonstration",
        "a labelled response",
    ]
    in_words = summarise(source, lambda kind: Ruler(lambda rows: [1] * len(rows), "words"), seed=0)
    assert in_words.read == []  # nothing is claimed where the model's tokenizer is out of reach
