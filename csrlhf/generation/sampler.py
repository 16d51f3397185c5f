"""Sampling responses with any causal model of transformers, log-probs captured while sampling.

One loop of single-token forwards over a key-value cache, outside of autocast. Greedy decoding,
temperature, top-k and top-p act on the logits through :class:`csrlhf.ops.logprobs.Warp`, the same object that training
uses. Leaves out beam search and everything else that is not sampling from the policy.

Legend: B sequences, P prompt tokens, T response tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import prompt_text
from csrlhf.errors import UserError
from csrlhf.generation.reading import responses_and_thoughts
from csrlhf.models.checks import accepted
from csrlhf.models.frozen_layers import FrozenLayers
from csrlhf.models.score_model import max_positions
from csrlhf.ops.logprobs import Warp, gather_logprobs, inverse_cdf_sample
from csrlhf.ops.masking import through_first
from csrlhf.ops.noise import uniform
from csrlhf.types import PromptBatch, PromptRow, Rollout

Forward = Callable[..., Any]

Ends = int | Sequence[int]
"""Ids of the tokens that end a turn (``ChatFormat.ends``)."""


@contextmanager
def decoding(model: PreTrainedModel) -> Iterator[Forward]:
    """The model's forward for decoding: autocast off, weights in the dtype that autocast would compute in.

    Under mixed precision Lightning runs a whole step inside autocast with its cache off. Decoding there would cast
    every weight again for every token. Here they are cast once per rollout, for 2 bytes per weight while it lasts.
    Without autocast this is the model itself.

    Args:
        model: not changed.

    Yields:
        What takes the model's keyword arguments and gives its output.
    """
    device = next(model.parameters()).device.type
    if not torch.is_autocast_enabled(device):
        yield model
        return
    dtype = torch.get_autocast_dtype(device)
    weights = {name: weight.detach().to(dtype) for name, weight in model.named_parameters()}

    def forward(**arguments: Any) -> Any:
        return torch.func.functional_call(model, weights, kwargs=arguments)

    with torch.autocast(device, enabled=False):
        yield forward


def positions(mask_BS: Tensor) -> Tensor:
    """Position of each real token among its row's real tokens [B, S]; 0 on left padding."""
    return (mask_BS.long().cumsum(-1) - 1).clamp(min=0)


class Sampler:
    """Draws one response per prompt."""

    def __init__(
        self,
        max_new_tokens: int = 16,
        min_new_tokens: int = 0,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        greedy: bool = False,
    ) -> None:
        """Build the sampler.

        Args:
            max_new_tokens: T, the longest response, end token included.
            min_new_tokens: no end of the turn can come before this many tokens.
            temperature: > 0.
            top_k: 0 keeps all tokens.
            top_p: 1 keeps all tokens.
            greedy: take the most likely token (evaluation and serving; its log-probs train nothing).
        """
        if max_new_tokens < 1:
            raise UserError(f"rollout.max_new_tokens={max_new_tokens}: must be >= 1")
        if not 0 <= min_new_tokens < max_new_tokens:
            raise UserError(
                f"rollout.min_new_tokens={min_new_tokens}: must be >= 0 and below "
                f"rollout.max_new_tokens={max_new_tokens}"
            )
        self.max_new_tokens, self.min_new_tokens = int(max_new_tokens), int(min_new_tokens)
        self.warp = Warp(temperature, top_k, top_p)
        self.greedy = greedy

    def distribution(self, logits: Tensor, step: Tensor, ends: Ends, truncate: bool = True) -> Tensor:
        """Logits [..., V] of the sampling distribution at response position(s) ``step`` (shape [...] or []).

        ``truncate=False`` leaves top-k and top-p out: so both sides of the KL are read. A token that the reference's
        own truncation excludes would have log-probability -inf there, and one such token would drown the KL; a
        truncated policy against an untruncated reference would be some nats away from itself.
        """
        if self.min_new_tokens:
            barred = (step < self.min_new_tokens).unsqueeze(-1)
            is_end = is_any_of(torch.arange(logits.shape[-1], device=logits.device), ends)
            logits = logits.masked_fill(barred & is_end, -torch.inf)
        return self.warp(logits, truncate)

    def response_distribution(
        self,
        model: PreTrainedModel,
        rollout: Rollout,
        ends: Ends,
        truncate: bool = True,
        frozen: FrozenLayers | None = None,
    ) -> Tensor:
        """:meth:`distribution` of a model at a rollout's response positions [B, T, V], in float32 or wider.

        ``frozen`` are the model's layers whose states the rollout holds: only those above them are computed.
        """
        logits = _precise(response_logits(model, rollout, frozen))
        return self.distribution(logits, torch.arange(logits.shape[1], device=logits.device), ends, truncate)

    @torch.no_grad()
    def __call__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        batch: PromptBatch,
        seed: int,
        iteration: int,
        watch: Callable[[Tensor], None] | None = None,
        frozen: FrozenLayers | None = None,
    ) -> Rollout:
        """Sample responses to a batch of prompts.

        Args:
            model: the policy; put into eval mode by the caller.
            tokenizer: the policy's.
            batch: left-padded prompts.
            seed: of the run.
            iteration: which iteration's noise to use.
            watch: is handed each step's tokens [B] as they are drawn (end tokens from a row's end on), to show them.
            frozen: layers of the model whose states the rollout is to hold.

        Raises:
            UserError: the longest prompt leaves the model no room for an answer of ``max_new_tokens``, or the model's
                logits are no numbers.
        """
        self._check_room(model, batch)
        ends = format_of(tokenizer).ends(model)
        device = batch.input_ids_BP.device
        noise_BT = uniform(seed, iteration, batch.index_B, self.max_new_tokens).to(device)
        mask_BS = batch.prompt_mask_BP
        done_B = torch.zeros(len(mask_BS), dtype=torch.bool, device=device)
        ids, logprobs, full_logprobs = [], [], []
        with decoding(model) as forward, nullcontext([]) if frozen is None else frozen.recorded() as states:
            logits_BV, cache = _read_prompts(forward, model, batch, states)
            for t in range(self.max_new_tokens):
                full_BV = self.distribution(_precise(logits_BV), torch.tensor(t, device=device), ends, False)
                logits_BV = self.warp.truncate(full_BV)
                token_B = logits_BV.argmax(dim=-1) if self.greedy else inverse_cdf_sample(logits_BV, noise_BT[:, t])
                token_B = token_B.masked_fill(done_B, ends[0])
                ids.append(token_B)
                if watch is not None:
                    watch(token_B)
                logprobs.append(gather_logprobs(logits_BV.unsqueeze(1), token_B.unsqueeze(1)).squeeze(1))
                if self.warp.truncates:
                    full_logprobs.append(gather_logprobs(full_BV.unsqueeze(1), token_B.unsqueeze(1)).squeeze(1))
                mask_BS = torch.cat([mask_BS, ~done_B.unsqueeze(-1)], dim=-1)
                done_B = done_B | is_any_of(token_B, ends)
                if t + 1 == self.max_new_tokens or bool(done_B.all()):
                    break
                output = forward(
                    input_ids=token_B.unsqueeze(-1),
                    attention_mask=mask_BS.long(),
                    past_key_values=cache,
                    use_cache=True,
                    **accepted(model, position_ids=positions(mask_BS)[:, -1:], logits_to_keep=1),
                )
                logits_BV, cache = output.logits[:, -1], output.past_key_values
        response_ids_BT = torch.stack(ids, dim=1)
        is_end_BT = is_any_of(response_ids_BT, ends)
        response_mask_BT = through_first(is_end_BT)
        _check_numbers(model, batch, torch.stack(logprobs, dim=1).isnan() & response_mask_BT)
        responses, thoughts = responses_and_thoughts(tokenizer, response_ids_BT, response_mask_BT & ~is_end_BT)
        return Rollout(
            sequence_ids_BS=torch.cat([batch.input_ids_BP, response_ids_BT], dim=1),
            sequence_mask_BS=torch.cat([batch.prompt_mask_BP, response_mask_BT], dim=1),
            response_ids_BT=response_ids_BT,
            response_mask_BT=response_mask_BT,
            logprobs_BT=torch.where(response_mask_BT, torch.stack(logprobs, dim=1), 0.0),
            ended_B=is_end_BT.any(dim=1),
            rows=batch.rows,
            responses=responses,
            thoughts=thoughts,
            full_logprobs_BT=torch.where(response_mask_BT, torch.stack(full_logprobs, dim=1), 0.0)
            if full_logprobs
            else None,
            states_BSH=torch.cat(states, dim=1).to(next(model.parameters()).dtype) if states else None,
        )

    def _check_room(self, model: PreTrainedModel, batch: PromptBatch) -> None:
        length_B = batch.prompt_mask_BP.sum(dim=-1)
        self.check_room(model, int(length_B.max()), batch.rows[int(length_B.argmax())])

    def check_room(self, model: PreTrainedModel, longest: int, row: PromptRow) -> None:
        """Refuses prompts that leave a response no room in the model's positions.

        Learned positions end in an index error past the last one, rotary ones in nonsense.

        Args:
            model: the policy.
            longest: tokens of the longest prompt.
            row: that prompt.

        Raises:
            UserError: with a response of the full length it has more tokens than the model has positions.
        """
        limit = max_positions(model)
        if limit is None or longest + self.max_new_tokens <= limit:
            return
        raise UserError(
            f"rollout.max_new_tokens={self.max_new_tokens}: a prompt of {longest} tokens leaves room for "
            f"{max(limit - longest, 0)}, the policy has {limit} positions (max_position_embeddings); lower it, or "
            f"leave such prompts out, see ppo.max_prompt_tokens (it begins: {prompt_text(row.prompt)[:40]!r})"
        )


def _read_prompts(
    forward: Forward, model: PreTrainedModel, batch: PromptBatch, states: list[Tensor]
) -> tuple[Tensor, Any]:
    """Logits after each prompt [B, V] and the cache of all rows; rows in succession with one prompt read it once.

    Args:
        forward: of :func:`decoding`.
        model: whose forward it is.
        batch: left-padded prompts.
        states: what frozen layers have recorded; where prompts were read once, the record becomes that of all rows.
    """

    def read(ids_UP: Tensor, mask_UP: Tensor) -> Any:
        known = accepted(model, position_ids=positions(mask_UP), logits_to_keep=1)
        return forward(input_ids=ids_UP, attention_mask=mask_UP.long(), past_key_values=None, use_cache=True, **known)

    ids_BP, mask_BP = batch.input_ids_BP, batch.prompt_mask_BP
    repeats_B = ((ids_BP[1:] == ids_BP[:-1]) & (mask_BP[1:] == mask_BP[:-1])).all(dim=-1)
    if bool(repeats_B.any()):
        first_B = torch.cat([repeats_B.new_ones(1), ~repeats_B])
        output, place_B = read(ids_BP[first_B], mask_BP[first_B]), first_B.long().cumsum(-1) - 1
        cache = output.past_key_values
        if all(hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", [None])):
            cache.batch_select_indices(place_B)
            states[:] = [state[place_B] for state in states]
            return output.logits[:, -1][place_B], cache
        states.clear()  # a cache that cannot be widened (of linear attention)
    output = read(ids_BP, mask_BP)
    return output.logits[:, -1], output.past_key_values


def _check_numbers(model: PreTrainedModel, batch: PromptBatch, broken_BT: Tensor) -> None:
    """A draw from logits that are NaN is some token all the same: an answer of which nothing could be told."""
    if bool(broken_BT.any()):
        row = batch.rows[int(broken_BT.any(dim=1).int().argmax())]
        name = getattr(model, "name_or_path", "")
        raise UserError(
            f"the policy{' ' * bool(name)}{name} gives NaN after the prompt "
            f"{prompt_text(row.prompt)[:40]!r}: its weights are broken; make it again, or go back to a checkpoint"
        )


def is_any_of(ids: Tensor, ends: Ends) -> Tensor:
    """True where an id ends a turn."""
    return torch.isin(ids, torch.tensor(ends, device=ids.device))


def _precise(logits: Tensor) -> Tensor:
    """Logits in float32 or wider: log-probabilities of a large vocabulary drown in bfloat16's rounding."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def response_logits(model: PreTrainedModel, rollout: Rollout, frozen: FrozenLayers | None = None) -> Tensor:
    """The model's raw logits at the response positions [B, T, V] (prompt positions skip the LM head).

    ``frozen`` are the model's layers whose states the rollout holds; only those above are computed.
    """
    num_tokens, states_BSH = rollout.response_ids_BT.shape[1], rollout.states_BSH
    # After the last token nothing follows. Without states it is read all the same: another width is another rounding.
    end = None if frozen is None or states_BSH is None else -1
    mask_BS = rollout.sequence_mask_BS[:, :end]
    with nullcontext() if end is None else frozen.replayed(states_BSH):  # type: ignore[union-attr,arg-type]  # there
        logits = model(
            input_ids=rollout.sequence_ids_BS[:, :end],
            attention_mask=mask_BS.long(),
            use_cache=False,
            **accepted(model, position_ids=positions(mask_BS), logits_to_keep=num_tokens + (end is None)),
        ).logits
    return logits[:, -num_tokens - 1 : -1] if end is None else logits[:, -num_tokens:]


def sampling_record(sampler: Sampler) -> dict[str, Any]:
    """The sampling distribution as JSON-ready containers."""
    return {
        "max_new_tokens": sampler.max_new_tokens,
        "min_new_tokens": sampler.min_new_tokens,
        "temperature": sampler.warp.temperature,
        "top_k": sampler.warp.top_k,
        "top_p": sampler.warp.top_p,
        "greedy": sampler.greedy,
    }
