"""A constraint on some prompts through a whole run: what is measured, what the policy pays, what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from csrlhf.constraints import Chance, CVaR
from csrlhf.errors import UserError
from csrlhf.penalties import Linear, SampleHinge
from csrlhf.tracking.history import read_history

Make = Callable[..., Any]
WHERE = {"category": ["harmful"]}


class Seen(Chance):
    """Keeps what it measured in training."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        found = super().forward(*arguments, **options)
        if options.get("chosen_B") is not None and arguments[2]:
            self.record = found.value, options["chosen_B"], arguments[0], found.sample_cost_B
        return found


def test_a_run_measures_and_charges_the_chosen_prompts_alone(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    constraint = Seen(0.9, where=WHERE)
    module = policy_module(constraints={"harm": constraint}, penalty=Linear(2.0))
    data = prompt_data(num_validation=None)
    trainer = tiny.fit(module, data, tmp_path, 1)
    value, chosen_B, logits_B, costs_B = constraint.record
    categories = [row.meta["category"] for row in data.batch(0).rows]
    assert chosen_B.tolist() == [category == "harmful" for category in categories]
    assert 0 < chosen_B.sum() < 8
    assert value.item() == pytest.approx((logits_B[chosen_B] > 0).float().mean().item())
    assert costs_B[~chosen_B].abs().sum() == 0
    assert trainer.callback_metrics["constraint/harm/cost"].item() == pytest.approx(value.item())
    validation = [row for row in data.rows["validation"] if row.meta["category"] == "harmful"]
    count = trainer.callback_metrics["validation/harm/cost"].item() * len(validation)
    assert count == pytest.approx(round(count), abs=1e-4)  # a rate of these prompts
    assert "constraints.by_name.harm.last" in module.state_dict()


def test_a_kind_that_is_nowhere_is_refused_before_a_model_is_loaded(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    module = policy_module(constraints={"harm": Chance(0.9, where={"category": "odd"})})
    with pytest.raises(UserError, match=r"where\.category=odd: no prompt has it; there are: benign, harmful"):
        tiny.fit(module, prompt_data(), tmp_path, 1)
    assert not hasattr(module, "roles")


def test_a_strategy_that_charges_each_response_for_itself_is_refused(policy_module: Make) -> None:
    with pytest.raises(UserError, match=r"constraints\.harm\.where: SampleHinge charges each response .*penalty=repo"):
        policy_module(penalty=SampleHinge(4.0), constraints={"harm": Chance(0.9, where=WHERE)})
    policy_module(penalty=SampleHinge(4.0), constraints={"harm": Chance(0.9)})


def test_a_tail_that_no_batch_could_hold_is_refused(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    """Of eight responses two are to harmful prompts: no worst tenth, in any batch."""
    module = policy_module(constraints={"harm": CVaR(0.9, alpha=0.9, where=WHERE)})
    with pytest.raises(UserError, match=r"harm\.where: a batch may hold 1 .* needs 10; set ppo\.min_stratum=10"):
        tiny.fit(module, prompt_data(), tmp_path, 1)


def test_a_rate_out_of_reach_counts_the_chosen_validation_prompts(
    policy_module: Make, prompt_data: Make, tiny: ModuleType, tmp_path: Path
) -> None:
    """Twelve prompts could show 0.9 to be kept; the three harmful ones can not."""
    module = policy_module(constraints={"harm": Chance(0.6, where=WHERE)})
    with pytest.raises(UserError, match=r"constraints\.harm\.threshold=0\.6 is out of reach: .* 3 validation prompts"):
        tiny.fit(module, prompt_data(num_validation=None), tmp_path, 1)


def test_on_the_command_line(command_line: Make, ppo: list[str], tmp_path: Path) -> None:
    """A column of one's own files chooses; the stage after it reads the constraint alike."""
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(row | {"harmful": n % 2 == 0}) for n, row in enumerate(rows)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    outcome = command_line(*ppo, "constraints.harm.where={harmful: [true]}", "constraints.harm.threshold=0.99")
    assert outcome.code == 0, outcome.err
    history = read_history(tmp_path / "a" / "ppo" / "latest" / "history.csv")
    costs = [row["constraint/harm/cost"] for row in history if "constraint/harm/cost" in row]
    assert all(2 * cost == round(2 * cost) for cost in costs)  # two of four prompts
    wrong = command_line(*ppo, "constraints.harm.where={harmfull: [true]}", "constraints.harm.threshold=0.99")
    assert wrong.code == 1
    assert "constraints.harm.where.harmfull: no prompt has such a column; there are: harmful" in wrong.err
