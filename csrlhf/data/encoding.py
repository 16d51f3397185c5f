"""Text to token ids: prompts, responses, dialogues, and padding. Every stage encodes here.

Rules that hold everywhere:

- The end of the turn is put after a response only if the response really ended (``ended=True``); a response that was
  cut off, by the policy's length limit or by ``max_tokens`` here, never gets one it did not have.
- Causal models read ``prompt + response``, the prompt in the tokenizer's chat template, or in the default one where it
  has none. Encoders (their tokenizer has both a classification and a separator token) read
  ``[CLS] prompt [SEP] response [SEP]``.
- What people and models write never becomes control tokens (``chat_format.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import thought_of
from csrlhf.data.thoughts import split_thought
from csrlhf.errors import UserError
from csrlhf.models.settings import Thought
from csrlhf.types import Prompt

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class RefusedTurnsError(UserError):
    """The tokenizer's chat template does not take the turns of a conversation."""


def prompt_text(prompt: Prompt) -> str:
    """A prompt as readable text: a single user turn is its text, a conversation is ``role: content`` lines."""
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1:
        return prompt[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that fills up batches: the pad token, else the end token, else 0 (masks decide, never the id)."""
    candidates = (_special_id(tokenizer, "pad_token_id"), _special_id(tokenizer, "eos_token_id"), 0)
    return next(candidate for candidate in candidates if candidate is not None)


def is_encoder_tokenizer(tokenizer: PreTrainedTokenizerBase) -> bool:
    """True for tokenizers of encoders: they separate segments instead of following a chat template."""
    return tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, max_tokens: int) -> list[int]:
    """A prompt as a causal model reads it before it answers.

    Args:
        tokenizer: with a chat template, or without (then the default one); the cue for an answer is included.
        prompt: one user turn, or a conversation.
        max_tokens: the room there is.

    Raises:
        UserError: the prompt is longer. Cutting it silently would ask the policy another question.
    """
    ids = _prompt_ids(tokenizer, prompt)
    if len(ids) > max_tokens:
        start = prompt_text(prompt)[:40]
        raise UserError(
            f"a prompt has {len(ids)} tokens, more than the {max_tokens} there is room for: shorten or drop it, "
            f"or raise the limit (it begins: {start!r})"
        )
    return ids


def encode_response(tokenizer: PreTrainedTokenizerBase, response: str, ended: bool = True) -> list[int]:
    """A response's ids, the end of the turn last if it ``ended`` and the tokenizer has one."""
    chat = format_of(tokenizer)
    ids = chat.ids(chat.answered(response))
    return [*ids, chat.turn_end] if ended and chat.turn_end is not None else ids


def seen_response(tokenizer: PreTrainedTokenizerBase, response: str) -> str:
    """A row's response as score models read it: what a user sees of it, unless thoughts are scored."""
    if thought_of(tokenizer) == Thought.score:
        return response
    return split_thought(response, _opens_thought(tokenizer))[1]


def trained_response(tokenizer: PreTrainedTokenizerBase, response: str) -> str:
    """A demonstration's response as the policy learns it: with its thought, unless thoughts are left out."""
    if thought_of(tokenizer) != Thought.drop:
        return response
    return split_thought(response, _opens_thought(tokenizer))[1]


def _opens_thought(tokenizer: PreTrainedTokenizerBase) -> bool:
    return not is_encoder_tokenizer(tokenizer) and format_of(tokenizer).opened


def encode_dialogue(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, response: str, max_tokens: int, ended: bool = True
) -> list[int]:
    """A prompt and its response as a score model reads them.

    Over-long dialogues are cut: the prompt to its last tokens, but never below half of the room unless it is
    shorter (what is asked mostly stands at its end); the response to its first tokens.

    Args:
        tokenizer: of a causal model or of an encoder.
        prompt: one user turn, or a conversation.
        response: may be empty (a policy may end at once).
        max_tokens: the most ids returned, special ones included.
        ended: False for a response that was cut off: then a causal model sees no end token.
    """
    classify, separate = _special_id(tokenizer, "cls_token_id"), _special_id(tokenizer, "sep_token_id")
    if classify is not None and separate is not None:
        chat = format_of(tokenizer)
        prompt_ids, response_ids = chat.text_ids(prompt_text(prompt)), chat.text_ids(response)
        prompt_ids, response_ids = _cut(prompt_ids, response_ids, max_tokens - 3)
        return [classify, *prompt_ids, separate, *response_ids, separate]
    prompt_ids, response_ids = _cut(
        _prompt_ids(tokenizer, prompt), encode_response(tokenizer, response, ended), max_tokens
    )
    return prompt_ids + response_ids


def _cut(prompt_ids: list[int], response_ids: list[int], room: int) -> tuple[list[int], list[int]]:
    if len(prompt_ids) + len(response_ids) <= room:
        return prompt_ids, response_ids
    prompt_room = min(len(prompt_ids), max(room - len(response_ids), room // 2))
    return prompt_ids[len(prompt_ids) - prompt_room :], response_ids[: room - prompt_room]


def _special_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int | None:
    """A special token's id, None where the tokenizer has no such token."""
    value = getattr(tokenizer, name)
    return None if value is None else int(value)


def _prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    chat = format_of(tokenizer)
    try:
        return chat.ids(chat.rendered(messages))  # the template has written the special tokens already
    except TemplateError as error:  # what a template raises for turns that its model was not trained on
        roles, start = ", ".join(turn["role"] for turn in messages), prompt_text(prompt)[:40]
        raise RefusedTurnsError(
            f"the tokenizer's chat template refuses a conversation with the turns {roles} ({error}): change or drop it "
            f"(it begins: {start!r})"
        ) from error


def pad(sequences: Sequence[Sequence[int]], pad_id: int, side: str = "right") -> tuple[Tensor, Tensor]:
    """Sequences of ids as one tensor.

    Args:
        sequences: at least one.
        pad_id: fills up the shorter ones.
        side: where the padding goes, ``left`` or ``right``.

    Returns:
        ``ids [B, S]`` (int64) and ``mask [B, S]`` (bool, True on real tokens), S the longest length, at least 1.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side is {side!r}: it must be left or right")
    import torch  # here: the data sources import this file, and the pipeline's waiting parent imports them

    width = max(1, max(len(ids) for ids in sequences))
    ids_BS = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    mask_BS = torch.zeros(len(sequences), width, dtype=torch.bool)
    for row, ids in enumerate(sequences):
        columns = slice(width - len(ids), width) if side == "left" else slice(0, len(ids))
        ids_BS[row, columns] = torch.tensor(ids, dtype=torch.long)
        mask_BS[row, columns] = True
    return ids_BS, mask_BS
