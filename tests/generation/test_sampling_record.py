"""The record of a sampler makes the same sampler again."""

from __future__ import annotations

import json

from csrlhf.generation.sampler import Sampler, sampling_record


def test_the_record_is_the_samplers_arguments() -> None:
    options = {"max_new_tokens": 7, "min_new_tokens": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "greedy": False}
    record = sampling_record(Sampler(**options))
    assert record == options
    assert sampling_record(Sampler(**json.loads(json.dumps(record)))) == options
