"""From a config to a decoder: which models it takes, and the keys that mistakes stand under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from csrlhf.data.chat_templates import kept
from csrlhf.errors import UserError
from csrlhf.runs.stages.decode import build_decoder, decoder_inputs


@pytest.fixture
def config(folders: Any, tmp_path: Path) -> DictConfig:
    return OmegaConf.create(
        {
            "artifacts": str(tmp_path),
            "stage": {"name": "decode"},
            "inputs": {"ppo": folders.ppo, "reward": folders.reward, "cost": folders.cost},
            "decode": {"n": 2, "rule": "best", "threshold": {"harm": 1.5}, "refusal": "no .", "batch_size": 8},
            "rollout": {"_target_": "csrlhf.generation.sampler.Sampler", "max_new_tokens": 5, "temperature": 0.5},
            "trainer": {"accelerator": "cpu"},
            "model": {"chat": {"_target_": "csrlhf.models.settings.ChatSettings", "system_prompt": "b c"}},
            "seed": 3,
        }
    )


def test_every_option_reaches_the_decoder(config: DictConfig) -> None:
    decoder = build_decoder(config, decoder_inputs(config, "train"))
    assert (decoder.n, decoder.rule, decoder.refusal, decoder.thresholds) == (2, "best", "no .", {"harm": 1.5})
    assert (decoder.drawing.seed, decoder.drawing.batch_size, decoder.speaker.device.type) == (3, 8, "cpu")
    assert decoder.identity()["chat"] == {"system_prompt": "b c"}
    assert kept(decoder.speaker.tokenizer) == {"system_prompt": "b c"}
    assert (decoder.speaker.sampler.max_new_tokens, decoder.speaker.sampler.warp.temperature) == (5, 0.5)


def test_first_takes_a_reward_model_only_where_there_is_one(config: DictConfig) -> None:
    config.decode.rule = "first"
    assert set(decoder_inputs(config, "train")) == {"ppo", "reward", "cost"}
    config.inputs.reward = None
    assert set(decoder_inputs(config, "train")) == {"ppo", "cost"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("decode.n", 0, "decode.n=0: must be a whole number"),
        ("decode.threshold", {"privacy": 0}, "decode.threshold={'privacy': 0}: names privacy"),
        ("trainer.accelerator", "tpu", "trainer.accelerator=tpu: must be one of cpu, gpu"),
    ],
)
def test_mistakes_stand_under_their_keys(config: DictConfig, key: str, value: Any, message: str) -> None:
    OmegaConf.update(config, key, value, merge=False)
    with pytest.raises(UserError) as caught:
        build_decoder(config, decoder_inputs(config, "train"))
    assert str(caught.value).startswith(message)
