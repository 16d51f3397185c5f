"""The record of a sampler makes the same sampler again."""

from __future__ import annotations

import json
from pathlib import Path

from csrlhf.generation.sampler import Sampler, sampling_record
from csrlhf.generation.settings import trained_sampling


def test_the_record_is_the_samplers_arguments() -> None:
    options = {"max_new_tokens": 7, "min_new_tokens": 2, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "greedy": False}
    record = sampling_record(Sampler(**options))
    assert record == options
    assert sampling_record(Sampler(**json.loads(json.dumps(record)))) == options


def test_an_older_record_knows_the_sampler_by_another_name(tmp_path: Path) -> None:
    rollout = {"_target_": "csrlhf.rollout.sampler.Sampler", "max_new_tokens": 7, "top_k": 5}
    (tmp_path / "csrlhf.json").write_text(
        json.dumps({"stage": "ppo", "config": {"rollout": rollout}}), encoding="utf-8"
    )
    assert trained_sampling(tmp_path) == {"max_new_tokens": 7, "top_k": 5}
