"""What the answers of a decoder depend on, and what they do not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from csrlhf.generation import Decoder


def test_sampling_is_that_of_the_policys_training(folders: Any, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    shutil.copytree(folders.ppo, folder)
    rollout = {"_target_": "csrlhf.generation.sampler.Sampler", "max_new_tokens": 9, "temperature": 0.5, "top_k": 3}
    record = {"fingerprint": "f" * 64, "config": {"rollout": rollout}}
    (folder / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    sampling = Decoder(folder, folders.reward, folders.cost, temperature=0.7).identity()["sampling"]
    assert (sampling["max_new_tokens"], sampling["temperature"], sampling["top_k"]) == (9, 0.7, 3)


def test_identity_names_what_the_answers_depend_on(folders: Any, make: Any) -> None:
    one = make(n=4).identity()
    assert one == make(n=4, batch_size=2, seed=5, refusal="no").identity()
    for change in (
        {"n": 5},
        {"threshold": 0.1},
        {"temperature": 0.9},
        {"policy": folders.sft},
        {"cost": folders.cost_two},
    ):
        assert make(**({"n": 4} | change)).identity() != one
    first = make(n=4, rule="first").identity()
    assert first["reward"] is None
    assert first == make(n=4, rule="first", reward=None).identity()
