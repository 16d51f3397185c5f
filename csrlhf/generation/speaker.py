"""The policy that answers: loaded and checked once, with its tokenizer, its sampler and its room for prompts."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from csrlhf.data.encoding import encode_prompt
from csrlhf.data.prompts import encode_batch
from csrlhf.data.tables.record import Record
from csrlhf.errors import InputWarning, UserError
from csrlhf.generation.sampler import Sampler
from csrlhf.models.checks import check_end_token, check_policy, check_vocabulary
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.score_model import max_positions
from csrlhf.models.settings import ChatSettings
from csrlhf.types import Prompt, PromptRow, Rollout

# ``trainer.precision`` for a policy that answers without a trainer.

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
"""The dtype in which is computed; weights stay as they are."""

TRUE = {"32-true": torch.float32, "bf16-true": torch.bfloat16, "64-true": torch.float64}
"""The dtype in which the policy's weights are."""


@contextlib.contextmanager
def computing(precision: str, speaker: Speaker) -> Iterator[None]:
    """Computes as ``precision`` says.

    Args:
        precision: of ``trainer.precision``.
        speaker: whose weights it is about.

    Raises:
        UserError: there is no such precision here.
    """
    if precision in MIXED:
        with torch.autocast(speaker.device.type, MIXED[precision]):
            yield
        return
    if precision not in TRUE:
        raise UserError(f"trainer.precision={precision}: stage=decode takes {', '.join([*TRUE, *MIXED])}")
    speaker.policy.to(TRUE[precision])  # type: ignore[arg-type]  # the stubs of transformers take no dtype
    yield


# Tokens as readable pieces while they are drawn.

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer writes for a character of which some bytes are still to come."""


class Pieces:
    """Hands over what each token adds to the text of one answer, as a user is to see it: without a thought.

    All tokens are decoded again each time, since what a token reads like depends on those before it.

    Args:
        read: from the ids of an answer so far to what of it may be shown.
        show: takes the pieces.

    Example:
        With ``show=print``, the tokens of ``"a b"`` print ``a`` and `` b``.
    """

    def __init__(self, read: Callable[[Sequence[int]], str], show: Callable[[str], None]) -> None:
        self.read, self.show = read, show
        self._ids: list[int] = []
        self._shown = ""

    def take(self, token_B: Tensor) -> None:
        """The next token of an answer that is drawn alone."""
        self._ids.append(int(token_B[0]))
        text = self.read(self._ids)
        if not text.endswith(BROKEN):
            self._hand_over(text)

    def close(self) -> None:
        """Hands over what was held back."""
        self._hand_over(self.read(self._ids))

    def _hand_over(self, text: str) -> None:
        if len(text) > len(self._shown) and text.startswith(self._shown):
            self.show(text[len(self._shown) :])
            self._shown = text


# Words of a prompt that a tokenizer does not know, told in one warning.


MOST_NAMED = 8
"""So many words fit into a line."""


def unknown_words(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, ids: Sequence[int]) -> list[str]:
    """The words that the unknown token stands for, in their order and each once.

    Args:
        tokenizer: any.
        prompt: what was asked.
        ids: the prompt as the tokenizer reads it.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id or unknown not in ids:  # GPT-2 has one token for both
        return []
    # the contents alone: roles are written by the chat template, in tokens of its own
    contents = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    words = dict.fromkeys(word for content in contents for word in content.split())
    return [word for word in words if unknown in tokenizer.encode(word, add_special_tokens=False)]


class UnknownWords:
    """Warns of words that a tokenizer does not know, of each word once.

    Tokenizers that fall back to bytes or pieces read anything. One that knows whole words alone (the toy world's) puts
    its unknown token in the place of any other, and the policy responds to a different question.

    Args:
        tokenizer: reads the prompts.
        name: of the model that it belongs to, for the message.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.tokenizer, self.name = tokenizer, name
        self._told: set[str] = set()

    def warn(self, read: Sequence[tuple[Prompt, Sequence[int]]]) -> None:
        """Look at prompts and their ids; one warning for all of them."""
        found = [unknown_words(self.tokenizer, *one) for one in read]
        fresh = [word for word in dict.fromkeys(word for words in found for word in words) if word not in self._told]
        if not fresh:
            return
        self._told.update(fresh)
        named = ", ".join(map(repr, fresh[:MOST_NAMED]))
        more = f" and {len(fresh) - MOST_NAMED} more" if len(fresh) > MOST_NAMED else ""
        prompts = f" (in {sum(map(bool, found))} of {len(read)} prompts)" if len(read) > 1 else ""
        warnings.warn(
            f"the tokenizer of {self.name} does not know {named}{more}{prompts}: the policy reads "
            f"{self.tokenizer.unk_token} in their place and answers another question; write as in its training data",
            InputWarning,
            stacklevel=2,
        )


# The policy itself.


DECODE_NOISE = -3
"""Iteration number of decoding's noise: none of training's, validation's or evaluation's draws."""

NO_LIMIT = 10**9
"""Tokens that a prompt may have where the policy knows no limit."""


class Speaker:
    """A policy that says something to prompts.

    Args:
        policy: its folder or name.
        sampler: how it is sampled.
        device: where it computes.
        chat: how conversations are written; None as the policy's folder has it.

    Raises:
        UserError: it is missing, or no causal language model.
    """

    def __init__(self, policy: str, sampler: Sampler, device: torch.device, chat: ChatSettings | None = None) -> None:
        self.sampler, self.device = sampler, device
        self.tokenizer = load_tokenizer(policy, chat)
        check_end_token(self.tokenizer, f"policy={policy}")
        self.policy = load_policy(policy).requires_grad_(False).eval()
        check_vocabulary(self.policy, self.tokenizer, f"policy={policy}")
        check_policy(self.policy, f"policy={policy}")
        self._unknown = UnknownWords(self.tokenizer, policy)
        limit = max_positions(self.policy)
        self.max_prompt_tokens = NO_LIMIT if limit is None else limit - sampler.max_new_tokens
        self.to(device)

    def check_room(self) -> None:
        """Raises a UserError where answers of the full length leave no room for a prompt."""
        if self.max_prompt_tokens < 1:
            raise UserError(
                f"max_new_tokens={self.sampler.max_new_tokens}: the policy has {max_positions(self.policy)} positions "
                "(max_position_embeddings); leave room for the prompt"
            )

    def to(self, device: torch.device) -> None:
        """Compute there from now on."""
        self.device = device
        self.policy.to(device)  # type: ignore[arg-type]  # the stubs of transformers know no devices

    def check(self, prompts: Sequence[Any], places: Sequence[str] | None = None) -> list[PromptRow]:
        """The prompts, each of them well-formed and with room for an answer; warns of unknown words.

        Args:
            prompts: texts, or conversations that end with the user's turn.
            places: what to call them in messages, such as ``file:line``; None for ``prompts[0]`` and so on.

        Raises:
            UserError: names the first that is not.
        """
        if isinstance(prompts, str):
            raise UserError(f"prompts={prompts[:40]!r}: give a list of prompts, [{prompts[:40]!r}]")
        rows, read = [], []
        for number, prompt in enumerate(prompts):
            place = f"prompts[{number}]" if places is None else places[number]
            value = list(prompt) if isinstance(prompt, tuple) else prompt
            row = PromptRow(Record(place, {"prompt": value}).prompt())
            try:
                read.append((row.prompt, encode_prompt(self.tokenizer, row.prompt, self.max_prompt_tokens)))
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
            rows.append(row)
        self._unknown.warn(read)
        return rows

    def say(
        self, rows: Sequence[PromptRow], index: Sequence[int], seed: int, watch: Callable[[Tensor], None] | None = None
    ) -> Rollout:
        """One draw for each row.

        Args:
            rows: prompts that have been checked.
            index: decides each row's noise, with the seed.
            seed: of the draws.
            watch: is handed each step's tokens [B] as they are drawn.
        """
        batch = encode_batch(self.tokenizer, rows, index, self.max_prompt_tokens).to(self.device)
        return self.sampler(self.policy, self.tokenizer, batch, seed, DECODE_NOISE, watch)
