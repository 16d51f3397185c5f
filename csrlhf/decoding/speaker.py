"""The policy that answers: loaded and checked once, with its tokenizer, its sampler and its room for prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from csrlhf.data.encoding import encode_prompt
from csrlhf.data.prompts import encode_batch
from csrlhf.data.tables.record import Record
from csrlhf.decoding.unknown_words import UnknownWords
from csrlhf.errors import UserError
from csrlhf.models.checks import check_end_token, check_policy, check_vocabulary
from csrlhf.models.loading import load_policy, load_tokenizer
from csrlhf.models.score_spec import max_positions
from csrlhf.rollout.sampler import Sampler
from csrlhf.types import PromptRow, Rollout

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

    Raises:
        UserError: it is missing, or no causal language model.
    """

    def __init__(self, policy: str, sampler: Sampler, device: torch.device) -> None:
        self.sampler, self.device = sampler, device
        self.tokenizer = load_tokenizer(policy)
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
