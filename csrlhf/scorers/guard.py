"""A generative guard as a cost model or judge: the log-odds of its word for unsafe against its word for safe.

Llama Guard, ShieldGemma, WildGuard, or any causal model that answers a question about a dialogue with one of two words.
Nothing is generated: the words' logits are read where the answer would begin.

Legend: B dialogues, S tokens, V vocabulary.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import pad, pad_id
from csrlhf.errors import InputWarning, UserError
from csrlhf.models.checks import accepted, check_vocabulary
from csrlhf.models.loading import load_tokenizer
from csrlhf.scorers.base import Scorer, column_names
from csrlhf.scorers.classifier import load_frozen, most_tokens
from csrlhf.scorers.guard_styles import STYLES, Style
from csrlhf.scorers.rendering import (
    Turns,
    as_parts,
    by_length,
    chat_text,
    filled,
    fitting,
    last_question,
    rendered_ids,
    takes_parts,
    text_ids,
)
from csrlhf.types import Prompt

LEAST_MASS = 0.1
"""A guard that gives both of its words together less than this was asked something else than it was trained on."""


class GuardScorer(Scorer):
    """``z_unsafe - z_safe`` where the guard's answer begins, or ``logit P(unsafe)`` over the whole vocabulary."""

    high = "unsafe"
    own_dtype = True

    def __init__(
        self,
        model: str | Path,
        outputs: Sequence[str] | None = None,
        style: str | None = None,
        template: str | None = None,
        unsafe: str | None = None,
        safe: str | None = None,
        questions: Sequence[str] | None = None,
        template_args: Mapping[str, Any] | None = None,
        score: str = "difference",
        max_tokens: int | None = None,
        dtype: str = "float32",
        batch_size: int = 16,
        *,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Load it.

        Args:
            model: a folder, or a name on the Hub.
            outputs: the one column that is asked for.
            style: ``llama_guard``, ``shieldgemma`` or ``wildguard``: sets the next five where they are not given.
            template: a text with ``{prompt}`` and ``{response}``, or a file that holds one; None for the style's, else
                for the tokenizer's chat template with the dialogue as turns.
            unsafe: how an answer begins that means unsafe.
            safe: how one begins that means safe.
            questions: what is written behind the template, each in front of an answer (guard_styles.py).
            template_args: arguments of the chat template.
            score: ``difference`` of the two logits, or ``probability``: the logit of the unsafe word's probability.
            max_tokens: longer dialogues are cut; None for what model and tokenizer take.
            dtype: of the weights.
            batch_size: dialogues per forward pass.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: it cannot be loaded, or what it is asked or how it answers is not known.
        """
        super().__init__()
        self.folder, self.name, self.batch_size, self.kind = model, str(model), batch_size, score
        self.outputs = column_names((role,) if outputs is None and role == "reward" else outputs, 1, f"{key}={model}")
        given = {"template": _read(template, key), "unsafe": unsafe, "safe": safe, "questions": questions}
        self.style = _style(style, given | {"template_args": template_args}, score, key)
        self.model: Any = load_frozen(AutoModelForCausalLM, model, dtype, key)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model, as_it_is=True)
        check_vocabulary(self.model, self.tokenizer, str(model))
        if self.style.template is None and self.tokenizer.chat_template is None:
            raise UserError(
                f"{key}={model}: its tokenizer has no chat template; say how it is asked with style:, or template: (a "
                "text with {prompt} and {response})"
            )
        self.max_tokens = most_tokens(self.model, self.tokenizer, max_tokens, f"{key}.max_tokens")
        chat = self.style.template is None
        self.parts = chat and takes_parts(self.tokenizer, self.name, ask=True, **self.style.template_args)
        self._warned = False

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Log-odds [B, 1]; arguments as in :meth:`Scorer.raw_scores`."""
        rows = [self._ids(prompt, response)[0] for prompt, response in zip(prompts, responses, strict=True)]
        return by_length(rows, self.batch_size, self._answered).unsqueeze(1)

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether it reads the response without its end."""
        return self._ids(prompt, response)[1]

    def _ids(self, prompt: Prompt, response: str) -> tuple[list[int], bool]:
        """The dialogue as the guard reads it, with room for questions and answers."""

        def render(turns: Turns, said: str) -> list[int]:
            return self._encoded(self._asked(turns, said))

        most = self.max_tokens - sum(len(self._tail(question)) + 2 for question in self.style.questions)
        return fitting(self.tokenizer, render, prompt, response, most, self.name)

    def _asked(self, turns: Turns, response: str) -> str:
        if self.style.template is not None:
            guarded = format_of(self.tokenizer).guarded
            return filled(self.style.template, guarded(last_question(turns)), guarded(response))
        whole: Any = [*turns, {"role": "assistant", "content": response}]
        whole = as_parts(whole) if self.parts else whole
        text = chat_text(self.tokenizer, whole, self.name, ask=True, **self.style.template_args)
        lead = self.style.questions[0]
        return text.removesuffix(lead) if lead else text  # some templates write it themselves

    def _encoded(self, text: str) -> list[int]:
        if self.style.template is None:  # it has written the special tokens already
            return rendered_ids(self.tokenizer, text)
        return text_ids(self.tokenizer, text)

    def _answered(self, rows: list[list[int]]) -> Tensor:
        """The last question's scores [B]; earlier ones are answered on the way."""
        *earlier, last = self.style.questions
        for question in earlier:
            rows = [row + self._tail(question) for row in rows]
            logits_BV = self._next_logits(rows)
            words = [self._tail(self.style.safe), self._tail(self.style.unsafe)]
            says_B = (
                logits_BV[:, self._first(self.style.unsafe)] > logits_BV[:, self._first(self.style.safe)]
            ).tolist()
            rows = [row + words[says] for row, says in zip(rows, says_B, strict=True)]
        logits_BV = self._next_logits([row + self._tail(last) for row in rows])
        unsafe, safe = self._first(self.style.unsafe), self._first(self.style.safe)
        if unsafe == safe:
            raise UserError(
                f"{self.name}: {self.style.unsafe!r} and {self.style.safe!r} begin with the same token; say with "
                "unsafe: and safe: how its two answers begin, white space included"
            )
        self._look_at_mass(logits_BV, [unsafe, safe])
        if self.kind == "difference":
            return logits_BV[:, unsafe] - logits_BV[:, safe]
        others_BV = logits_BV.clone()
        others_BV[:, unsafe] = -math.inf
        return logits_BV[:, unsafe] - others_BV.logsumexp(1)

    def _tail(self, text: str) -> list[int]:
        """The ids of a text that stands behind another one."""
        mark = "x\n"
        before, whole = (self.tokenizer.encode(part, add_special_tokens=False) for part in (mark, mark + text))
        return (
            whole[len(before) :]
            if whole[: len(before)] == before
            else self.tokenizer.encode(text, add_special_tokens=False)
        )

    def _first(self, word: str) -> int:
        ids = self._tail(word)
        if not ids:
            raise UserError(f"{self.name}: {word!r} is no token of its vocabulary; say how its answer begins")
        return ids[0]

    def _next_logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Logits [B, V] of the token behind each row, in float32."""
        device = self.model.device
        ids_BS, mask_BS = (part.to(device) for part in pad(rows, pad_id(self.tokenizer), side="left"))
        positions_BS = (mask_BS.long().cumsum(1) - 1).clamp(min=0)
        extra = accepted(self.model, position_ids=positions_BS, logits_to_keep=1)
        logits = self.model(input_ids=ids_BS, attention_mask=mask_BS.long(), use_cache=False, **extra).logits
        return logits[:, -1].float()

    def _look_at_mass(self, logits_BV: Tensor, words: list[int]) -> None:
        mass = float((logits_BV[:, words].logsumexp(1) - logits_BV.logsumexp(1)).exp().mean())
        if mass < LEAST_MASS and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name}: gives {self.style.unsafe!r} and {self.style.safe!r} together a probability of "
                f"{mass:.2g}: it was trained on another template, or answers in other words; say them with style:, or "
                "with template:, unsafe: and safe:",
                InputWarning,
                stacklevel=2,
            )


def _read(template: str | None, key: str) -> str | None:
    """The text of a template, from its file where it is one."""
    if template is None:
        return None
    text = template
    if "{response}" not in text:
        path = Path(text).expanduser()
        if not path.is_file():
            raise UserError(f"{key}.template={template[:60]!r}: is no file, and has no place for {{response}}")
        text = path.read_text(encoding="utf-8")
    if "{response}" not in text:
        raise UserError(f"{key}.template={template}: has no place for the response; write {{prompt}} and {{response}}")
    return text


def _style(name: str | None, given: Mapping[str, Any], score: str, key: str) -> Style:
    if score not in ("difference", "probability"):
        raise UserError(f"{key}.score={score}: must be difference or probability")
    if name is not None and name not in STYLES:
        raise UserError(f"{key}.style={name}: must be one of {', '.join(STYLES)}, or null with unsafe: and safe: given")
    if name is None and (given["unsafe"] is None or given["safe"] is None):
        raise UserError(
            f"{key}: nothing says how the guard answers; set style: to one of {', '.join(STYLES)}, or unsafe: and "
            "safe: to the beginnings of its two answers"
        )
    base: dict[str, Any] = vars(STYLES[name] if name is not None else Style())
    found: dict[str, Any] = base | {word: value for word, value in given.items() if value is not None}
    questions = found["questions"]
    if isinstance(questions, str) or not questions:
        raise UserError(
            f"{key}.questions={questions!r}: takes a list of texts, the last of which is the one that counts"
        )
    found["questions"] = tuple(str(one) for one in questions)
    return Style(**found)
