"""How one tokenizer writes turns: control tokens kept apart from text, the ends of a turn, the cue for an answer.

What people and models write is data. A template's own control tokens (``<|im_start|>``, ``</s>``, ``<start_of_turn>``)
mean something because text cannot make them, so the same characters inside a prompt or a response must become other
ids: those of the characters. The tokenizer itself reads both alike, wherever they stand. So control tokens in data are
replaced by marks that no text can contain before the template is rendered, and rendered text with such marks in it is
encoded by a second copy of the tokenizer in which only the template's own tokens have a name.

Text without control tokens never comes near that copy: its ids are the plain tokenizer's.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from csrlhf.data.chat_templates import default_template, template_of
from csrlhf.data.thoughts import CLOSE, MARKS, OPEN, split_thought

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

FIRST, LAST = "\ue000", "\ue001"
"""Around a mark: private characters, which no template looks for."""

ANSWER = "\ue002"
"""Stands for an answer where only what the template writes around it is asked for."""

CLOSED = f"\n{CLOSE}\n\n"
"""What ends a thought that the prompt has opened, where a response has none."""

CACHE = "_csrlhf_chat_format"
"""Where a tokenizer keeps its format."""


def format_of(tokenizer: PreTrainedTokenizerBase) -> ChatFormat:
    """A tokenizer's format, made once and again where its template or vocabulary has changed."""
    state = (tokenizer.chat_template, tokenizer.eos_token, len(tokenizer))
    known = vars(tokenizer).get(CACHE)
    if known is None or known[0] != state:
        known = (state, ChatFormat(tokenizer))
        vars(tokenizer)[CACHE] = known
    return known[1]


def control_tokens(tokenizer: PreTrainedTokenizerBase, template: str) -> dict[str, int]:
    """Tokens that mean something which their characters in a text do not, with their ids.

    All special tokens; and those added tokens that only the template's words make special (Gemma 1 and Qwen do not
    declare ``<start_of_turn>`` and ``<tool_call>``): they stand in it, or mark a thought. Runs of blanks and whole
    words, which tokenizers add for their own sake, stay ordinary text.
    """
    special = set(tokenizer.all_special_tokens)
    found: dict[str, int] = {}
    for index, token in getattr(tokenizer, "added_tokens_decoder", {}).items():
        text = token.content
        used = (text in MARKS or text in template) and not text.isspace() and not text.isalnum()
        if text and (token.special or text in special or used):
            found[text] = int(index)
    return found


class ChatFormat:
    """Control tokens, template and ends of a turn.

    Args:
        tokenizer: any; one without a chat template has the default one.

    Attributes:
        template: Jinja.
        control: ids of control tokens by their text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.template = template_of(tokenizer) or default_template(tokenizer)
        self.control = control_tokens(tokenizer, self.template)
        self._texts = sorted(self.control, key=len, reverse=True)  # the longest first, as tokenizers match
        self._pattern = re.compile("|".join(map(re.escape, self._texts)) or r"(?!)")
        self._nonce = secrets.token_hex(8)  # which text could contain only by knowing it
        self._mark = re.compile(f"{FIRST}{self._nonce}([0-9]+){LAST}")

    # From text to text: marks in the place of control tokens.

    def guarded(self, text: str) -> str:
        """Text with marks for the control tokens in it."""
        return self._pattern.sub(lambda found: f"{FIRST}{self._nonce}{self._texts.index(found[0])}{LAST}", text)

    def guarded_answer(self, text: str) -> str:
        """The same of a model's turn, whose thought stands between true control tokens."""
        if split_thought(text, self.opened)[0] is None:
            return self.guarded(text)
        start = text.index(OPEN) + len(OPEN) if text.lstrip().startswith(OPEN) else 0
        end = text.find(CLOSE, start)
        if end < 0:
            return text[:start] + self.guarded(text[start:])
        return text[:start] + self.guarded(text[start:end]) + CLOSE + self.guarded(text[end + len(CLOSE) :])

    def rendered(self, messages: Sequence[Mapping[str, str]], cue: bool = True) -> str:
        """A conversation in the template, with marks for control tokens in its contents.

        Args:
            messages: turns.
            cue: whether the words behind which the model answers follow.

        Raises:
            TemplateError: the template refuses the turns.
        """
        turns = []
        for turn in messages:
            guard = self.guarded_answer if turn["role"] == "assistant" else self.guarded
            turns.append({**turn, "content": guard(turn["content"])})
        return self._apply(turns, cue)

    def answered(self, response: str) -> str:
        """A response as it follows the cue, with marks for control tokens in it.

        Behind a cue that has opened a thought, a response's own opening mark would be a second one, and a response
        without a thought first closes it.
        """
        if not self.opened:
            return self.guarded_answer(response)
        thought, _ = split_thought(response, opened=True)
        if thought is None:
            return CLOSED + self.guarded(response)
        text = response.lstrip()
        return self.guarded_answer(text.removeprefix(OPEN).removeprefix("\n") if text.startswith(OPEN) else response)

    def _apply(self, turns: Sequence[Mapping[str, str]], cue: bool) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                list(turns),  # type: ignore[arg-type]  # the stubs ask for dict, any mapping does
                chat_template=self.template,
                add_generation_prompt=cue,
                tokenize=False,
            )
        )

    # From text to ids.

    def text_ids(self, text: str) -> list[int]:
        """Ids of what somebody wrote."""
        return self.ids(self.guarded(text))

    def ids(self, text: str) -> list[int]:
        """Ids of guarded or rendered text: what marks stand for is text, other control tokens are control tokens."""
        if self._nonce not in text:
            return self.tokenizer.encode(text, add_special_tokens=False)
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            return self._piecewise(text)
        backend, ids, names = self._backend
        named = self._pattern.sub(lambda found: names[found[0]], text)
        return self._text_only(backend.encode(self._unmarked(named), add_special_tokens=False).ids, ids)

    def _unmarked(self, text: str) -> str:
        return self._mark.sub(lambda found: self._texts[int(found[1])], text)

    def _text_only(self, ids: Sequence[int], control: Mapping[int, int]) -> list[int]:
        """Control ids where they were meant; where the vocabulary has no other way to write one, an unknown word."""
        unknown: Any = self.tokenizer.unk_token_id
        barred = set(self.control.values())
        found = [control.get(index, unknown if index in barred else index) for index in ids]
        return [index for index in found if index is not None]

    @cached_property
    def _backend(self) -> tuple[Tokenizer, dict[int, int], dict[str, str]]:
        """The tokenizer with control tokens renamed; ids here by ids there; and the names.

        One pass over the whole text: pieces on their own would each get the blank that many tokenizers put before a
        text, and lose the merges across their ends.
        """
        from tokenizers import AddedToken, Tokenizer

        spec: dict[str, Any] = json.loads(self.tokenizer.backend_tokenizer.to_str())  # type: ignore[attr-defined]
        added = spec["added_tokens"]
        spec |= {"added_tokens": [], "truncation": None, "padding": None, "post_processor": None}
        backend = Tokenizer.from_str(json.dumps(spec))
        names = {text: f"{FIRST}{self._nonce}:{place}{LAST}" for place, text in enumerate(self._texts)}
        ids: dict[int, int] = {}
        for token in added:
            flags = {key: token[key] for key in ("single_word", "lstrip", "rstrip", "normalized")}
            name: str = names.get(token["content"]) or token["content"]
            (backend.add_special_tokens if token["special"] else backend.add_tokens)([AddedToken(name, **flags)])
            there = backend.token_to_id(name)
            assert there is not None
            ids[there] = int(token["id"])
        return backend, ids, names

    def _piecewise(self, text: str) -> list[int]:
        """The same for tokenizers in Python, around the template's own tokens."""
        ids: list[int] = []
        place = 0
        for found in [*self._pattern.finditer(text), None]:
            piece = self._unmarked(text[place : len(text) if found is None else found.start()])
            if piece:
                encoded = self.tokenizer.encode(piece, add_special_tokens=False, split_special_tokens=True)
                ids += self._text_only(encoded, {})
            if found is not None:
                ids.append(self.control[found[0]])
                place = found.end()
        return ids

    # What the template writes around an answer.

    @cached_property
    def opened(self) -> bool:
        """Whether the cue opens a thought, as those of models do that always think."""
        try:
            return self._apply([{"role": "user", "content": ANSWER}], True).rstrip().endswith(OPEN)
        except TemplateError:
            return False

    @cached_property
    def turn_end(self) -> int | None:
        """The control token that the template writes behind an answer, else the tokenizer's end token."""
        end: Any = self.tokenizer.eos_token_id
        turns = [{"role": "user", "content": ANSWER}, {"role": "assistant", "content": ANSWER}]
        try:
            behind = self._apply(turns, False).rpartition(ANSWER)[2].lstrip()
        except TemplateError:
            behind = ""
        found = self._pattern.match(behind)
        return self.control[found[0]] if found is not None else None if end is None else int(end)

    def ends(self, model: Any = None) -> tuple[int, ...]:
        """Ids that end a turn, the tokenizer's end token first: that, the template's, the generation config's."""
        config = getattr(model, "generation_config", None)
        given = getattr(config, "eos_token_id", None)
        named = given if isinstance(given, list | tuple) else [given]
        found = [self.tokenizer.eos_token_id, self.turn_end, *named]
        return tuple(dict.fromkeys(int(index) for index in found if index is not None))
