"""Text to ids, by hand on a letter tokenizer; then what must hold for every text."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

from csrlhf.data.chat_templates import PLAIN
from csrlhf.data.encoding import encode_dialogue, encode_prompt, encode_response, pad, pad_id, prompt_text
from csrlhf.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<eos>", "<user>", "<bot>", *"abcdefghij"]
PAD, CLS, SEP, EOS, USER, BOT = 0, 2, 3, 4, 5, 6
TEMPLATE = (
    "{% for m in messages %}<{{ 'user' if m['role'] == 'user' else 'bot' }}> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)


def tokenizer(**special: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", **special)


CAUSAL = tokenizer(eos_token="<eos>", chat_template=PLAIN)
CHAT = tokenizer(eos_token="<eos>", chat_template=TEMPLATE)
ENCODER = tokenizer(cls_token="[CLS]", sep_token="[SEP]")


def ids(text: str) -> list[int]:
    return [WORDS.index(letter) for letter in text]


def test_prompt_with_a_template_ends_with_the_generation_prompt() -> None:
    assert encode_prompt(CHAT, "a b", 8) == [USER, *ids("ab"), BOT]


def test_a_single_user_turn_is_the_same_as_its_text() -> None:
    turn = ({"role": "user", "content": "a b"},)
    assert encode_prompt(CHAT, turn, 8) == encode_prompt(CHAT, "a b", 8)
    assert prompt_text(turn) == "a b"


def test_a_conversation() -> None:
    turns = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})
    assert encode_prompt(CHAT, turns, 9) == [USER, *ids("a"), BOT, *ids("b"), USER, *ids("c"), BOT]
    assert prompt_text(turns) == "user: a\nassistant: b\nuser: c"


def test_prompt_of_the_plain_template_is_its_text() -> None:
    assert encode_prompt(CAUSAL, "a b", 8) == ids("ab")


def test_an_overlong_prompt_names_its_length_and_the_room() -> None:
    with pytest.raises(UserError, match="3 tokens, more than the 2"):
        encode_prompt(CAUSAL, "a b c", 2)


def test_an_end_token_only_where_the_response_ended() -> None:
    assert encode_response(CAUSAL, "a b", ended=True) == [*ids("ab"), EOS]
    assert encode_response(CAUSAL, "a b", ended=False) == ids("ab")
    assert encode_response(CAUSAL, "", ended=True) == [EOS]


def test_dialogue_of_a_causal_model() -> None:
    assert encode_dialogue(CHAT, "a b", "c", 16) == [USER, *ids("ab"), BOT, *ids("c"), EOS]
    assert encode_dialogue(CHAT, "a b", "c", 16, ended=False) == [USER, *ids("ab"), BOT, *ids("c")]


def test_dialogue_of_an_encoder_has_separators_and_no_end_token() -> None:
    expected = [CLS, *ids("ab"), SEP, *ids("c"), SEP]
    assert encode_dialogue(ENCODER, "a b", "c", 16) == expected
    assert encode_dialogue(ENCODER, "a b", "c", 16, ended=False) == expected


def test_a_long_response_loses_its_end_and_its_end_token() -> None:
    assert encode_dialogue(CAUSAL, "a b", "c d e f g", 5) == ids("abcde")


def test_a_long_prompt_loses_its_start_but_keeps_half_of_the_room() -> None:
    assert encode_dialogue(CAUSAL, "a b c d e f", "g h i j", 6) == ids("defghi")
    # A short response leaves more than half to the prompt.
    assert encode_dialogue(CAUSAL, "a b c d e f", "g", 6) == [*ids("cdefg"), EOS][-6:]


LETTERS = st.lists(st.sampled_from("abcdefghij"), max_size=12).map(" ".join)


@given(LETTERS, LETTERS, st.integers(8, 40), st.booleans(), st.sampled_from([CAUSAL, CHAT, ENCODER]))
def test_a_dialogue_never_outgrows_its_room(
    prompt: str, response: str, room: int, ended: bool, kind: PreTrainedTokenizerFast
) -> None:
    encoded = encode_dialogue(kind, prompt, response, room, ended)
    assert len(encoded) <= room
    if not ended:
        assert EOS not in encoded


def test_padding_by_hand() -> None:
    left_ids, left_mask = pad([[7, 8], [9]], 0, side="left")
    assert left_ids.tolist() == [[7, 8], [0, 9]]
    assert left_mask.tolist() == [[True, True], [False, True]]
    right_ids, right_mask = pad([[7, 8], [9]], 0)
    assert right_ids.tolist() == [[7, 8], [9, 0]]
    assert right_mask.tolist() == [[True, True], [True, False]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5), st.sampled_from(["left", "right"]))
def test_padding_keeps_every_row(rows: list[list[int]], side: str) -> None:
    padded, mask = pad(rows, 0, side)
    assert mask.dtype == torch.bool
    assert [padded[i][mask[i]].tolist() for i in range(len(rows))] == rows


def test_an_unknown_side() -> None:
    with pytest.raises(ValueError, match="left or right"):
        pad([[1]], 0, side="top")


def test_pad_id_falls_back_to_the_end_token() -> None:
    words = Tokenizer(WordLevel({"[UNK]": 0, "<eos>": 1}, unk_token="[UNK]"))
    assert pad_id(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>")) == 1
    assert pad_id(CAUSAL) == PAD


def test_a_conversation_that_the_template_refuses_is_named() -> None:
    strict = tokenizer(eos_token="<eos>", chat_template="{{ raise_exception('roles must alternate') }}")
    turns = ({"role": "user", "content": "a"}, {"role": "user", "content": "c"})
    with pytest.raises(UserError, match=r"refuses a conversation with the turns user, user \(roles must alternate\)"):
        encode_prompt(strict, turns, 9)
