"""Log-probabilities of tokens under the distribution that samples them.

Temperature, top-k and top-p reshape the distribution in one place, used by sampling and by training alike:
with a temperature other than 1 the ratio of an un-updated policy is 1 only then.

Legend: B sequences, T response tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from csrlhf.errors import UserError

EXCLUDED = -1e4
"""Log-probability of a token outside the sampling set: ``exp`` of it is 0 in every dtype."""


@dataclass(frozen=True)
class Warp:
    """How logits become the sampling distribution.

    Example: ``Warp(temperature=0.7, top_p=0.95)``.

    Attributes:
        temperature: > 0; logits are divided by it.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the smallest set of tokens whose probability reaches p; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise UserError(f"rollout.temperature={self.temperature}: must be > 0 (for greedy: rollout.greedy=true)")
        if self.top_k < 0:
            raise UserError(f"rollout.top_k={self.top_k}: must be >= 0 (0 keeps every token)")
        if not 0 < self.top_p <= 1:
            raise UserError(f"rollout.top_p={self.top_p}: must be in (0, 1] (1 keeps every token)")

    @property
    def truncates(self) -> bool:
        """Whether some tokens are left out."""
        return self.top_k > 0 or self.top_p < 1.0

    def __call__(self, logits: Tensor, truncate: bool = True) -> Tensor:
        """Warped logits, same shape [..., V]; tokens outside top-k and top-p are -inf (``truncate=False``: kept)."""
        if self.temperature != 1.0:
            logits = logits / self.temperature
        return self.truncate(logits) if truncate else logits

    def truncate(self, logits: Tensor) -> Tensor:
        """Logits, tempered already, with those outside top-k and top-p at -inf."""
        if self.top_k:
            kth = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).values[..., -1:]
            logits = logits.masked_fill(logits < kth, -torch.inf)
        if self.top_p < 1.0:
            ordered, order = logits.sort(dim=-1, descending=True)
            before = ordered.softmax(dim=-1).cumsum(dim=-1) - ordered.softmax(dim=-1)
            excluded = (before >= self.top_p).scatter(-1, order, before >= self.top_p)
            logits = logits.masked_fill(excluded, -torch.inf)
        return logits


def gather_logprobs(logits_BTV: Tensor, ids_BT: Tensor) -> Tensor:
    """``log softmax(logits)[ids]`` [B, T] without holding the whole log-softmax.

    A token that a top-k or top-p set excludes *now* (it was inside when it was sampled) would be -inf and
    poison the ratio; it gets ``EXCLUDED``, which the clipped surrogate ignores (ratio 0, no gradient).
    """
    chosen_BT = logits_BTV.gather(-1, ids_BT.unsqueeze(-1)).squeeze(-1)
    logprobs_BT = chosen_BT - logits_BTV.logsumexp(dim=-1)
    return logprobs_BT.clamp(min=EXCLUDED)


def ratio_reference(old_logprobs_BT: Tensor, logprobs_BT: Tensor) -> Tensor:
    """What a ratio is taken against [B, T]: where the old log-prob is ``EXCLUDED``, the present one, so that it is 1.

    Another arithmetic than the sampler's may find a sampled token outside of top-k or top-p; ``exp`` of the difference
    would be infinite.
    """
    return torch.where(old_logprobs_BT > EXCLUDED / 2, old_logprobs_BT, logprobs_BT.detach())


def entropy(logits_BTV: Tensor) -> Tensor:
    """Entropy of each token's distribution in nats [B, T]; excluded tokens (-inf) add nothing.

    They are replaced before the product, not after it: the gradient of ``0 * -inf`` is NaN, masked or not.
    """
    logprobs_BTV = logits_BTV.log_softmax(dim=-1)
    finite_BTV = logprobs_BTV.masked_fill(logprobs_BTV == -torch.inf, 0.0)
    return -(logprobs_BTV.exp() * finite_BTV).sum(dim=-1)


def inverse_cdf_sample(logits_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """The token whose cumulative probability first exceeds the draw [B].

    One number per token (unlike Gumbel noise, one per vocabulary entry), so noise is cheap at 150k words.
    """
    probs_BV = logits_BV.double().softmax(dim=-1)
    cdf_BV = probs_BV.cumsum(dim=-1)
    draw_B1 = (uniform_B.double().to(cdf_BV.device) * cdf_BV[:, -1]).unsqueeze(-1)
    ids_B = torch.searchsorted(cdf_BV, draw_B1, right=True).squeeze(-1)
    return ids_B.clamp(max=logits_BV.shape[-1] - 1)
