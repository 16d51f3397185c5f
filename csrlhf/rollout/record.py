"""How responses are sampled, for later readers."""

from __future__ import annotations

from typing import Any

from csrlhf.rollout.sampler import Sampler


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
