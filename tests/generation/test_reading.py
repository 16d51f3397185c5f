"""From ids to what a user sees, to thoughts, and to what may be shown while an answer is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import AddedToken

from csrlhf.data.chat_templates import furnish
from csrlhf.generation.reading import responses_and_thoughts, seen_so_far
from csrlhf.models.settings import ChatSettings, Thought
from tests.styles import STYLES, byte_tokenizer, styled

MARKS = ("<think>", "</think>")


def thinking(special: bool = False, cue: str = "", thought: Thought | None = None) -> Any:
    style = STYLES["chatml"]
    template = style.template.replace("assistant\\n' }}{% endif", f"assistant\\n{cue}' }}}}{{% endif")
    tokenizer = byte_tokenizer((*style.special, *(MARKS if special else ())), "<|endoftext|>", template)
    tokenizer.add_tokens([AddedToken(mark, special=special, normalized=False) for mark in MARKS])
    furnish(tokenizer, ChatSettings(thought=thought), "it")
    return tokenizer


def read(tokenizer: Any, text: str) -> Any:
    ids = torch.tensor([tokenizer.encode(text, add_special_tokens=False)])
    return responses_and_thoughts(tokenizer, ids, torch.ones_like(ids, dtype=torch.bool))


def test_an_end_that_the_tokenizer_does_not_count_as_special_is_no_text() -> None:
    tokenizer = styled("gemma")
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    ids = [*tokenizer.encode("Yes.", add_special_tokens=False), end]
    assert seen_so_far(tokenizer, [end], ids) == "Yes."


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize(
    ("thought", "expected"),
    [
        (None, (("Four.",), ("Two and two.",))),
        (Thought.keep, (("Four.",), ("Two and two.",))),
        (Thought.drop, (("Four.",), None)),
        (Thought.score, (("<think>Two and two.</think>\n\nFour.",), None)),
    ],
)
def test_thoughts_are_kept_scored_or_dropped(special: bool, thought: Thought | None, expected: Any) -> None:
    tokenizer = thinking(special, thought=thought)
    assert read(tokenizer, "<think>Two and two.</think>\n\nFour.<|im_end|>") == expected


def test_behind_a_cue_that_opens_a_thought() -> None:
    tokenizer = thinking(cue="<think>\\n")
    assert read(tokenizer, "Hm.</think>Yes.<|im_end|>") == (("Yes.",), ("Hm.",))
    assert read(tokenizer, "Hm, and") == (("",), ("Hm, and",))  # cut off: there is nothing to see yet
    scored = thinking(cue="<think>\\n", thought=Thought.score)
    assert read(scored, "Hm.</think>Yes.") == (("<think>Hm.</think>Yes.",), None)


def test_a_cut_off_thought_leaves_nothing_to_see_and_others_are_none() -> None:
    tokenizer = thinking()
    assert read(tokenizer, "<think>Hm, and") == (("",), ("Hm, and",))
    assert read(tokenizer, "Use <think> and </think>.<|im_end|>") == (("Use <think> and </think>.",), None)


def test_control_tokens_vanish_and_their_text_stays() -> None:
    tokenizer = thinking()
    spelled = tokenizer.encode("a<|im_end|>", add_special_tokens=False, split_special_tokens=True)
    ids = torch.tensor([[*spelled, *tokenizer.encode("<|im_start|>b", add_special_tokens=False)]])
    said, _ = responses_and_thoughts(tokenizer, ids, torch.ones_like(ids, dtype=torch.bool))
    assert said == ("a<|im_end|>b",)


@pytest.mark.parametrize("cue", ["", "<think>\\n"])
def test_nothing_of_a_thought_is_shown_while_an_answer_is_drawn(cue: str) -> None:
    tokenizer = thinking(cue=cue)
    text = "Hm.</think>Yes." if cue else "<think>Hm.</think>Yes."
    ids = tokenizer.encode(text, add_special_tokens=False)
    shown = [seen_so_far(tokenizer, [0], ids[:count]) for count in range(len(ids) + 1)]
    assert shown[-4:] == ["Y", "Ye", "Yes", "Yes."]
    assert set(shown[:-4]) == {""}
    # Marks that are spelled out, by a tokenizer that has none of its own.
    spelled = byte_tokenizer(STYLES["chatml"].special, "<|endoftext|>", STYLES["chatml"].template)
    ids = spelled.encode("<think>Hm.</think>Yes.", add_special_tokens=False)
    shown = [seen_so_far(spelled, [0], ids[:count]) for count in range(len(ids) + 1)]
    assert shown[-4:] == ["Y", "Ye", "Yes", "Yes."]
    assert set(shown[:-4]) == {""}
