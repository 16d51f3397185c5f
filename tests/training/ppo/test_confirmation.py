"""The start policy as look 0, and the look that decides, in a whole run of the tiny world."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from transformers import AutoModelForCausalLM

from csrlhf.constraints import Chance
from csrlhf.errors import InputWarning, UserError
from csrlhf.penalties import NoPenalty
from csrlhf.training.ppo.config import PPOConfig, SelectionSettings
from csrlhf.training.ppo.confirmation import sentence
from csrlhf.training.ppo.policy import PolicyModule
from csrlhf.training.ppo.selection import Candidate
from csrlhf.training.ppo.validation import CONFIRMATION_NOISE

Make = Callable[..., Any]
MANY = 96
LOOSE = {"harm": Chance(0.97)}
"""What most policies of the tiny world keep, and 64 prompts can show."""


@pytest.fixture
def confirmed_data(prompt_data: Make, tiny: ModuleType) -> Make:
    """Prompts of which an evaluation takes 16 and the confirmation 64."""

    def make(**changes: Any) -> Any:
        data = prompt_data(**({"num_validation": 16, "num_confirmation": 64} | changes))
        data.source = tiny.Source(size=MANY)
        rows = [row for number, row in enumerate(data.source.prompts("validation"))]
        distinct = [type(row)(f"{row.prompt} {' '.join('abcdefghij'[int(c)] for c in f'{number:03}')}", row.meta)
                    for number, row in enumerate(rows)]  # fmt: skip
        prompts = data.source.prompts
        data.source.prompts = lambda split: distinct if split == "validation" else prompts(split)
        return data

    return make


def weights(module: PolicyModule) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.roles.policy.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


def watched(module: PolicyModule) -> list[tuple[int, int, int]]:
    """Fills with (iteration, noise, prompts) of every look of the module."""
    looks: list[tuple[int, int, int]] = []
    examine = module.examine

    def look(prompts: Any, noise: int, meter: Any) -> dict[str, Any]:
        looks.append((int(module.iteration), noise, len(prompts.rows)))
        return examine(prompts, noise, meter)

    module.examine = look  # type: ignore[method-assign]
    return looks


def test_the_start_policy_is_looked_at_first_and_training_draws_what_it_would_have_drawn(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    looked, alone = policy_module(constraints=LOOSE), policy_module(constraints=LOOSE)
    looks = watched(looked)
    torch.manual_seed(3)
    tiny.fit(looked, prompt_data(), tmp_path / "looked", 2)
    after = torch.rand(3)
    torch.manual_seed(3)
    tiny.fit(alone, prompt_data(), tmp_path / "alone", 2, limit_val_batches=0)
    assert same(weights(looked), weights(alone))
    assert sorted({iteration for iteration, _, _ in looks}) == [0, 1, 2]
    assert sum(count for iteration, _, count in looks if iteration == 0) == 12  # all of them, once
    assert looked.selection.start is not None
    assert looked.selection.start.iteration == 0
    assert alone.selection.start is None
    torch.manual_seed(3)
    tiny.fit(policy_module(constraints=LOOSE), prompt_data(), tmp_path / "again", 2)
    assert torch.equal(after, torch.rand(3))


def test_the_evaluation_of_the_start_is_isolated_from_the_global_generators(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module, states = policy_module(constraints=LOOSE), []
    start = module.on_train_start

    def before() -> None:
        states.append(torch.random.get_rng_state())
        start()
        states.append(torch.random.get_rng_state())

    module.on_train_start = before  # type: ignore[method-assign]
    tiny.fit(module, prompt_data(), tmp_path, 1)
    assert torch.equal(*states)


def test_a_start_policy_that_nothing_beats_is_handed_over(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = policy_module(constraints=LOOSE)
    start = policy_module()
    start.configure_model()
    consider = module.selection.consider
    module.selection.consider = lambda iteration, result: consider(  # every later policy earns less
        iteration, type(result)(**{**vars(result), "reward": -float(iteration)})
    )
    tiny.fit(module, confirmed_data(), tmp_path, 2)
    module.export(tmp_path / "out")
    assert same(weights(start), AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict())
    assert not same(weights(start), weights(module))  # what was trained is still in the module
    assert same(weights(module), AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "last").state_dict())
    assert module.final_metrics["selection/best_iteration"] == 0.0
    assert "ppo: selected the start policy: with 95 % confidence" in capsys.readouterr().out


def test_the_policy_of_a_look_is_confirmed_on_prompts_that_no_look_has_used(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module, data = policy_module(constraints=LOOSE), confirmed_data()
    looks = watched(module)
    tiny.fit(module, data, tmp_path, 3)
    prompts = {name: {row.prompt for row in data.rows[name]} for name in ("validation", "confirmation")}
    assert (len(prompts["validation"]), len(prompts["confirmation"])) == (16, 64)
    assert not prompts["validation"] & prompts["confirmation"]
    confirming = [count for _, noise, count in looks if noise == CONFIRMATION_NOISE]
    assert sum(confirming) in {64 * policies for policies in range(1, len(module.selection.in_order()) + 1)}
    final = module.final_metrics
    assert final["selection/num_confirmation"] == 64.0
    assert 0 <= final["selection/confirmed/harm/cost"] <= 1
    # The bound is that of the confirmation, made by hand from what is on disk.
    module.shortlisted.put(int(final["selection/best_iteration"]))
    assert same(weights(module), AutoModelForCausalLM.from_pretrained(tmp_path / "best").state_dict())


def test_a_policy_that_fails_the_confirmation_is_not_called_feasible(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every evaluation finds no harm, and the confirmation finds much."""
    module = policy_module(constraints={"harm": Chance(0.3)})
    module.configure_model()
    examine = module.examine

    def look(prompts: Any, noise: int, meter: Any) -> dict[str, Any]:
        found = examine(prompts, noise, meter)
        sign = 1.0 if noise == CONFIRMATION_NOISE else -1.0
        meter.cost_logits[-1] = sign * torch.ones_like(meter.cost_logits[-1])
        return found

    module.examine = look
    tiny.fit(module, confirmed_data(), tmp_path, 1)
    assert module.selection.last is not None
    assert module.selection.last.feasible
    assert module.final_metrics["selection/best_feasible"] == 0.0
    assert module.final_metrics["selection/best_excess"] == pytest.approx(0.7)
    assert "the least violating: not shown to keep every threshold (upper bound 0.7 above)" in capsys.readouterr().out


def test_resuming_repeats_no_look_and_loses_none(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    whole, first, second = (policy_module(constraints=LOOSE) for _ in range(3))
    tiny.fit(whole, confirmed_data(), tmp_path / "whole", 3)
    keep = ModelCheckpoint(tmp_path / "kept", filename="{epoch}", save_top_k=-1)
    tiny.fit(first, confirmed_data(), tmp_path / "parts", 1, enable_checkpointing=True, callbacks=[keep])
    looks = watched(second)
    tiny.fit(second, confirmed_data(), tmp_path / "parts", 3, checkpoint=tmp_path / "kept" / "epoch=0.ckpt")
    assert {iteration for iteration, noise, _ in looks if noise != CONFIRMATION_NOISE} == {2, 3}
    assert second.selection.state_dict() == whole.selection.state_dict()
    assert second.final_metrics == whole.final_metrics


def test_a_resumed_run_without_the_earlier_policies_says_so(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    first, second = policy_module(constraints=LOOSE), policy_module(constraints=LOOSE)
    trainer = tiny.fit(first, confirmed_data(), tmp_path / "here", 1)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.warns(InputWarning, match="holds no policy of iteration .*which the checkpoint had on its shortlist"):
        tiny.fit(second, confirmed_data(), tmp_path / "elsewhere", 2, checkpoint=tmp_path / "x.ckpt")
    assert second.final_metrics["selection/best_iteration"] == 2.0


def test_only_what_is_on_the_shortlist_stays_on_disk(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(constraints=LOOSE)
    tiny.fit(module, confirmed_data(), tmp_path, 4)
    found = {int(path.stem) for path in (tmp_path / "shortlist").iterdir()}
    assert module.selection.kept <= found
    assert len(found) <= len(module.selection.shortlist) + 1  # and what the newest checkpoint may name


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_confirmation": 20}, r"out of reach.* 20 validation prompts .*set ppo\.num_confirmation=29 or more"),
        ({"num_confirmation": 0}, r"out of reach.* 16 .*at each of 3 evaluations.*set ppo\.num_validation=39 or more"),
        ({"num_confirmation": 90}, r"num_confirmation=90: ppo\.num_validation=16 leaves 80 of 96 .*=80"),
    ],
)
def test_prompts_that_can_show_nothing_are_refused_before_a_model_is_loaded(
    sizes: dict[str, int], message: str, policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(constraints={"harm": Chance(0.1)})
    with pytest.raises(UserError, match=message):
        tiny.fit(module, confirmed_data(**sizes), tmp_path, 2)
    assert not hasattr(module, "roles")
    greedy = policy_module(constraints={"harm": Chance(0.1)}, penalty=NoPenalty())  # it claims nothing
    if sizes["num_confirmation"] < 80:
        tiny.fit(greedy, confirmed_data(**sizes), tmp_path, 1)


def test_a_confirmation_of_all_prompts_is_refused() -> None:
    with pytest.raises(UserError, match=r"ppo\.num_confirmation=5: ppo\.num_validation=null takes every"):
        PPOConfig(num_validation=None, num_confirmation=5)


def test_two_constraints_are_confirmed_together(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path, folders: Any
) -> None:
    module = policy_module(
        inputs=folders.inputs(cost=folders.cost_two),
        constraints={"harm": Chance(0.97), "privacy": Chance(0.5)},
        selection=SelectionSettings(on_collapse="ignore", screens=[0.9]),  # type: ignore[arg-type]  # a word names it
    )
    tiny.fit(module, confirmed_data(), tmp_path, 2)
    final = module.final_metrics
    assert {"selection/confirmed/harm/cost", "selection/confirmed/privacy/cost"} <= final.keys()
    bounds = [final[f"selection/confirmed/{name}/cost"] - d for name, d in (("harm", 0.97), ("privacy", 0.5))]
    if final["selection/best_feasible"]:
        assert max(bounds) < 0


def test_two_processes_confirm_what_one_would(
    policy_module: Make, confirmed_data: Make, tiny: ModuleType, tmp_path: Path, on_two_processes: Make
) -> None:
    alone = policy_module(constraints=LOOSE)
    tiny.fit(alone, confirmed_data(), tmp_path / "one", 1)

    def fit(rank: int) -> None:
        module = policy_module(constraints=LOOSE)
        strategy = DDPStrategy(find_unused_parameters=True, process_group_backend="gloo")
        tiny.fit(module, confirmed_data(), tmp_path / "two", 1, devices=2, strategy=strategy)
        torch.save({"final": module.final_metrics, "weights": weights(module)}, tmp_path / f"{rank}.pt")

    assert on_two_processes(fit) == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["final"] == second["final"]
    assert same(first["weights"], second["weights"])
    selected = {key: value for key, value in alone.final_metrics.items() if key.startswith("selection/")}
    assert {key: first["final"][key] for key in selected} == pytest.approx(selected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("chosen", "constrained", "words"),
    [
        (Candidate(85, 1.0, -0.01), True, "selected the policy of iteration 85: with 99.5 % confidence it keeps every"),
        (Candidate(0, 1.0, 0.0), True, "selected the start policy: with 99.5 %"),
        (Candidate(5, 1.0, 0.0123), True, "iteration 5, the least violating: .* 0.0123 above"),
        (Candidate(5, 1.0, 0.3), False, "iteration 5, by its reward alone"),
    ],
)
def test_the_closing_line_says_what_is_known(chosen: Candidate, constrained: bool, words: str) -> None:
    assert re.search(words, sentence(chosen, 0.995, constrained))
