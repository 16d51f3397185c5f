"""A policy module with a Trainer of one's own: defaults, the end of the run, checkpoints."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.advantages import GAE
from csrlhf.constraints import Chance
from csrlhf.errors import UserError
from csrlhf.penalties import Lagrangian, Rectified
from csrlhf.training.ppo.config import PPOConfig
from csrlhf.training.ppo.policy import PolicyModule

Make = Callable[..., Any]


def test_the_example_of_the_docstring_runs_and_ends(
    folders: Any, tiny: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PolicyModule.__doc__ is not None
    code = textwrap.dedent(PolicyModule.__doc__.partition("::\n")[2].partition("    The run ends")[0])
    assert len(code.strip().splitlines()) - code.count("\n\n") <= 10
    sizes = {"=128": "=8", "=120": "=3", "every=5": "every=2", "=64": "=16", "0.03": "0.9"}
    for documented, small in sizes.items():
        assert documented in code
        code = code.replace(documented, small)
    (tmp_path / "artifacts").mkdir()
    for name in ("sft", "reward", "cost"):
        (tmp_path / "artifacts" / name).symlink_to(getattr(folders, name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("csrlhf.data.toy.source.ToyData", tiny.Source)
    names: dict[str, Any] = {}
    exec(code, names)
    module = names["module"]
    assert int(module.iteration) == 3
    assert module.selection.num_looks == 3  # the confidence is shared between these evaluations
    assert isinstance(module.penalty, Rectified)
    assert isinstance(module.advantage, GAE)
    documented = PPOConfig(iterations=3, eval_every=2, batch_size=8, max_prompt_tokens=16)
    assert module.ppo == replace(documented, critic_warmup=1)  # six would be all of it

    [checkpoint] = tmp_path.glob("lightning_logs/version_0/checkpoints/*.ckpt")
    back = PolicyModule.load_from_checkpoint(checkpoint, constraints={"harm": Chance(0.9)})
    assert back.inputs == module.inputs
    assert int(back.iteration) == 3
    assert back.state_dict().keys() == module.state_dict().keys()
    assert all(torch.equal(value.cpu(), module.state_dict()[key].cpu()) for key, value in back.state_dict().items())


def test_a_checkpoint_asks_for_the_parts_that_it_was_made_with(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(penalty=Lagrangian(multiplier=2.0), seed=5)
    tiny.fit(module, prompt_data(), tmp_path, 1, limit_val_batches=0).save_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(
        UserError, match="the checkpoint's penalty is Lagrangian, the module's is Rectified; give penalty"
    ):
        PolicyModule.load_from_checkpoint(tmp_path / "x.ckpt")
    back = PolicyModule.load_from_checkpoint(tmp_path / "x.ckpt", penalty=Lagrangian())
    assert back.seed == 5
    assert back.penalty.metrics() == module.penalty.metrics()  # λ as it has moved, and not the constructor's


@pytest.mark.parametrize("max_epochs", [-1, 50])
def test_a_run_ends_where_its_iterations_do(
    max_epochs: int, policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module()
    data = prompt_data(iterations=3, eval_every=2)
    trainer = tiny.fit(module, data, tmp_path, max_epochs, limit_val_batches=0)
    assert int(module.iteration) == 3
    assert trainer.current_epoch == 2


@pytest.mark.parametrize(
    ("data", "trainer", "message"),
    [
        ({"iterations": 2}, {"epochs": 2, "reload_dataloaders_every_n_epochs": 0}, "must be 1, else epochs repeat"),
        ({"samples_per_prompt": 2}, {"epochs": 1}, "must be the DataModule's, which is 2"),
    ],
)
def test_what_would_go_wrong_unnoticed_is_refused(
    data: dict[str, int],
    trainer: dict[str, int],
    message: str,
    policy_module: Make,
    prompt_data: Make,
    tiny: ModuleType,
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=message):
        tiny.fit(policy_module(), prompt_data(**data), tmp_path, limit_val_batches=0, **trainer)


def test_loaders_in_place_of_a_datamodule_are_refused(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    data = prompt_data()
    data.setup("fit")
    with pytest.raises(UserError, match=r"write trainer\.fit\(module, PromptDataModule"):
        tiny.trainer(tmp_path, max_epochs=1).fit(policy_module(), data.batch(0), data.batch(0))
