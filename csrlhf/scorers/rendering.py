"""How a scorer of somebody else's reads a dialogue: its own chat template, or a text with places for both sides.

Legend: turns are ``{"role": ..., "content": ...}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import begins
from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.types import Prompt

Turns = list[dict[str, str]]
Render = Callable[[Turns, str], list[int]]
"""From a prompt's turns and a response to ids."""

PLACES = re.compile(r"\{(prompt|response)\}")
MARKS = ("qzvprompt", "qzvresponse")
"""Words that no template has, to see whether it takes what it is given."""


def turns_of(prompt: Prompt) -> Turns:
    """A prompt as turns."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else [dict(turn) for turn in prompt]


def filled(template: str, prompt: str, response: str) -> str:
    """A text with ``{prompt}`` and ``{response}`` filled in, once: places inside of these are text."""
    return PLACES.sub(lambda place: {"prompt": prompt, "response": response}[place[1]], template)


def chat_text(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Mapping[str, Any]],
    name: str,
    ask: bool = False,
    **arguments: Any,
) -> str:
    """Turns in the tokenizer's chat template, with marks for control tokens that somebody wrote (``rendered_ids``).

    Args:
        tokenizer: of the scorer.
        turns: the last of them is the response.
        name: the scorer's, for the message.
        ask: whether the template's cue for the next answer follows.
        arguments: of the template.

    Raises:
        UserError: the template refuses these turns.
    """
    try:
        text = tokenizer.apply_chat_template(
            [{**turn, "content": _guarded(tokenizer, turn["content"])} for turn in turns],
            add_generation_prompt=ask, tokenize=False, **arguments,
        )  # fmt: skip
    except (TemplateError, TypeError) as error:
        roles = ", ".join(str(turn["role"]) for turn in turns)
        raise UserError(
            f"{name}: its chat template refuses a conversation with the turns {roles} ({error}); give it a template "
            "of your own, with {prompt} and {response}, or the arguments that it asks for (template_args)"
        ) from error
    return str(text)


def _guarded(tokenizer: PreTrainedTokenizerBase, content: Any) -> Any:
    """A turn's content, or its parts, with marks for control tokens."""
    if isinstance(content, str):
        return format_of(tokenizer).guarded(content)
    return [{**part, "text": format_of(tokenizer).guarded(part["text"])} for part in content]


def rendered_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a rendered text: control tokens of the template are such, those that somebody wrote are text."""
    return format_of(tokenizer).ids(text)


def as_parts(turns: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Turns with their contents as lists of parts, which templates of models that also read images ask for."""
    return [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


def takes_parts(tokenizer: PreTrainedTokenizerBase, name: str, **arguments: Any) -> bool:
    """Whether contents are lists of parts: False where texts come through the template, True where only parts do.

    Raises:
        UserError: neither prompt nor response comes out of it.
    """
    turns = [{"role": "user", "content": MARKS[0]}, {"role": "assistant", "content": MARKS[1]}]
    problem: UserError | None = None
    for parts in (False, True):
        try:
            text = chat_text(tokenizer, as_parts(turns) if parts else turns, name, **arguments)
        except UserError as error:
            problem = problem or error
        else:
            if all(mark in text for mark in MARKS) and "'text'" not in text:
                return parts
    raise problem or UserError(
        f"{name}: its chat template leaves out the prompt or the response; give it a template of your own, with "
        "{prompt} and {response}"
    )


def fitting(
    tokenizer: PreTrainedTokenizerBase, render: Render, prompt: Prompt, response: str, max_tokens: int, name: str
) -> tuple[list[int], bool]:
    """The ids of a dialogue, cut where it is too long.

    Earlier turns go first, then the prompt's beginning, as far as half of the room, then the response's end. What the
    template says itself is never cut.

    Returns:
        At most ``max_tokens`` ids, and whether the response has lost its end.

    Raises:
        UserError: the template alone is longer.
    """
    turns = turns_of(prompt)
    ids = render(turns, response)
    if len(ids) <= max_tokens:
        return ids, False
    last = turns[-1:]
    ids = render(last, response)
    overhead = len(render([{**last[0], "content": ""}], ""))
    asked, said = _ids(tokenizer, last[0]["content"]), _ids(tokenizer, response)
    room, cut = max_tokens - overhead, False
    while len(ids) > max_tokens:
        if room < 2:
            raise UserError(
                f"{name}: its template alone has {overhead} tokens, and it takes {max_tokens}; shorten the template, "
                "or raise max_tokens"
            )
        asked_room = min(len(asked), max(room - len(said), room // 2))
        said_room = min(len(said), room - asked_room)
        cut = said_room < len(said)
        question = tokenizer.decode(asked[len(asked) - asked_room :])
        ids = render(
            [{**last[0], "content": str(question)}], str(tokenizer.decode(said[:said_room])) if cut else response
        )
        room -= max(len(ids) - max_tokens, 1)  # texts that are cut may be encoded to some tokens more
    return ids, cut


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """A text with the tokenizer's beginning, and without an end that some tokenizers put behind every text.

    What is filled into it was given to ``ChatFormat.guarded`` before.
    """
    ids = rendered_ids(tokenizer, text)
    return [tokenizer.bos_token_id, *ids] if begins(tokenizer) else ids  # type: ignore[list-item]  # it is one


def last_question(turns: Turns) -> str:
    """What the prompt of a text template is: a single turn's text, a conversation as ``role: content`` lines."""
    return prompt_text(tuple(turns))


def by_length(rows: Sequence[list[int]], batch_size: int, score: Callable[[list[list[int]]], Tensor]) -> Tensor:
    """Scores of encoded dialogues, in their order; a long one pads those of its own batch alone.

    Args:
        rows: ids of each, one or more.
        batch_size: dialogues that are scored together.
        score: the scores of some, along the first dimension.
    """
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    scores = torch.cat([score([rows[row] for row in part]) for part in parts])
    return scores[torch.tensor(order, device=scores.device).argsort()]
