"""What quick_configs.py keeps of compositions changes none of them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import search_path

PAIRS = [
    (["stage=ppo", "ppo.clip=0.1"], ["stage=ppo", "ppo.clip=0.3", "+trainer.limit_val_batches=2", "~sft"]),
    (["stage=evaluate", "penalty=pid", "seed=1"], ["penalty=pid", "stage=evaluate", "penalty.kp=3"]),
    (["experiment=smoke", "seed=1"], ["experiment=smoke", "stage=cost", "model=minilm"]),
    (["constraint=harm_privacy"], ["stage=decode", "experiment=[smoke,safe_rlhf]", "debug=fast"]),
]


def composed(folder: Path, words: list[str]) -> DictConfig:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose("train", overrides=words)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " ".join(pair[0]))
def test_a_choice_of_files_that_is_put_together_once_is_hydra_s_own(
    pair: tuple[list[str], ...], each_choice_of_configs_is_read_once: ModuleType
) -> None:
    search_path.register()
    ours = Path(search_path.conf_folder())
    for words in (*pair, *pair):
        found = composed(ours, words)
        with each_choice_of_configs_is_read_once.composed_as_ever():
            expected = composed(ours, words)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert OmegaConf.is_struct(found)
        OmegaConf.set_struct(found, False)
        found.seed = -1  # in this one, and in no later one


def test_a_folder_that_a_test_writes_is_read_each_time(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / "train.yaml").write_text(f"seed: {seed}\n", encoding="utf-8")
        assert composed(tmp_path, []) == {"seed": seed}
