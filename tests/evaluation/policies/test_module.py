"""Both policies on the same test prompts, end to end on the small world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from csrlhf.constraints import Chance, Constraint, CVaR, Mean, Pessimistic
from csrlhf.errors import UserError
from csrlhf.evaluation.policies.module import EvaluationModule
from csrlhf.evaluation.settings import EvaluateSettings
from csrlhf.generation.sampler import Sampler
from csrlhf.stats.bounds import clopper_pearson_upper

Make = Callable[..., Any]


@pytest.fixture
def evaluate(tiny: ModuleType, folders: Any, prompt_data: Make, tmp_path: Path) -> Callable[..., EvaluationModule]:
    def run(
        constraints: dict[str, Constraint] | None = None,
        source: Any = None,
        eval_batch_size: int = 8,
        **inputs: str,
    ) -> EvaluationModule:
        module = EvaluationModule(
            folders.inputs(**inputs), Sampler(5), constraints or {"harm": Chance(0.3)}, EvaluateSettings()
        )
        tiny.trainer(tmp_path).test(module, prompt_data(source, eval_batch_size=eval_batch_size), verbose=False)
        return module

    return run


def answers_of(module: EvaluationModule, tmp_path: Path) -> list[dict[str, Any]]:
    module.export(tmp_path)
    return [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()]


def test_every_answer_of_both_policies_is_written(evaluate: Make, tiny: ModuleType, tmp_path: Path) -> None:
    lines = answers_of(evaluate(), tmp_path)
    rows = tiny.Source().prompts("test")
    assert [line["prompt"] for line in lines] == [row.prompt for row in rows] * 2
    assert [line["policy"] for line in lines] == ["sft"] * 12 + ["ppo"] * 12
    assert {line["response"] for line in lines[:12]} != {line["response"] for line in lines[12:]}
    assert lines[0]["meta"] == rows[0].meta
    assert lines[0]["oracle"].keys() == {"unsafe", "helped", "refused", "kind", "privacy"}


def test_numbers_are_those_of_the_written_answers(evaluate: Make, tmp_path: Path) -> None:
    module = evaluate()
    lines = [line for line in answers_of(module, tmp_path) if line["policy"] == "ppo"]
    metrics = module.final_metrics
    unsafe = [line["cost_logits"]["harm"] > 0 for line in lines]
    assert metrics["eval/reward"] == pytest.approx(sum(line["reward"] for line in lines) / 12)
    assert metrics["eval/unsafe_rate"] == pytest.approx(sum(unsafe) / 12)
    seen = [bad for bad, line in zip(unsafe, lines, strict=True) if line["meta"]["framing_seen"]]
    assert len(seen) < 12  # the verdict leaves held-out framings out
    assert metrics["eval/harm/rate"] == pytest.approx(sum(seen) / len(seen))
    assert metrics["eval/harm/upper_bound"] == pytest.approx(clopper_pearson_upper(sum(seen), len(seen), 0.95))
    assert metrics["eval/harm/feasible"] == float(metrics["eval/harm/upper_bound"] <= 0.3)


def test_keys_with_and_without_an_oracle(evaluate: Make, tiny: ModuleType) -> None:
    plain = {"reward", "unsafe_rate", "cost", "kl", "response_length", "ended"}
    verdict = {"eval/harm/rate", "eval/harm/upper_bound", "eval/harm/feasible"}
    without = evaluate(source=tiny.Source(with_oracle=False)).final_metrics
    closing = {key for key in without if key.count("/") == 1 + key.startswith("eval/sft/")} | verdict
    judged = {f"{area}/judged_unsafe_rate{end}" for area in ("eval", "eval/sft") for end in ("", "_low", "_high")}
    ends = {f"{area}/kl_{end}" for area in ("eval", "eval/sft") for end in ("low", "high")}
    assert closing == {f"{area}/{key}" for area in ("eval", "eval/sft") for key in plain} | verdict | judged | ends
    assert not [key for key in without if "oracle" in key]
    with_oracle = evaluate().final_metrics
    oracle = {"eval/oracle/unsafe_harmful_seen", "eval/oracle/over_refusal", "eval/oracle/unsafe_by_framing/odd"}
    assert oracle <= with_oracle.keys() - without.keys()


def test_a_policy_beside_itself(evaluate: Make, folders: Any, tmp_path: Path) -> None:
    """The same noise for both: the same policy gives the same answers, and no KL."""
    module = evaluate(ppo=folders.sft)
    lines = answers_of(module, tmp_path)
    assert [line["response"] for line in lines[:12]] == [line["response"] for line in lines[12:]]
    assert module.final_metrics["eval/kl"] == pytest.approx(0.0, abs=1e-5)  # once decoded, once in one forward
    assert abs(evaluate().final_metrics["eval/kl"]) > 0.1


def test_batching_changes_no_answer(evaluate: Make, tmp_path: Path) -> None:
    together, apart = (answers_of(evaluate(eval_batch_size=size), tmp_path) for size in (12, 5))
    assert [line["response"] for line in together] == [line["response"] for line in apart]


def test_a_mean_constraint_gets_a_normal_bound(evaluate: Make) -> None:
    metrics = evaluate(constraints={"harm": Mean(0.9)}).final_metrics
    assert metrics["eval/harm/rate"] < metrics["eval/harm/upper_bound"] < 1.5


def test_each_statistic_judges_the_written_answers(evaluate: Make, folders: Any, tmp_path: Path) -> None:
    """Two cost models; statistics of all test answers together, though they are judged in batches of five."""
    constraints = {"harm": CVaR(0.3, alpha=0.75, window=5), "privacy": Pessimistic(0.9, ema=0.5)}
    module = evaluate(constraints, eval_batch_size=5, cost=[folders.cost_privacy, folders.cost])
    lines = [line for line in answers_of(module, tmp_path) if line["policy"] == "ppo" and line["meta"]["framing_seen"]]
    logits_BK = torch.tensor([list(line["cost_logits"].values()) for line in lines])
    costs_BK = torch.tensor([list(line["violations"].values()) for line in lines])
    assert list(lines[0]["cost_logits"]) == ["harm", "privacy"]
    torch.testing.assert_close(costs_BK, logits_BK.sigmoid())
    for k, (name, constraint) in enumerate(constraints.items()):
        expected = constraint(logits_BK[:, k]).value.item()
        assert module.final_metrics[f"eval/{name}/rate"] == pytest.approx(expected)
        assert module.final_metrics[f"eval/{name}/upper_bound"] >= expected - 1e-6  # summed in another precision


def test_the_table_names_both_policies_and_the_verdict(evaluate: Make, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(constraints={"harm": Chance(0.99)})
    out = capsys.readouterr().out
    assert "SFT" in out
    assert "mean reward" in out
    assert "FEASIBLE: harm" in " ".join(out.split())


def test_every_constraint_needs_an_output_of_its_name(evaluate: Make, folders: Any) -> None:
    with pytest.raises(UserError, match="scores harm and not privacy"):
        evaluate(constraints={"harm": Chance(0.3), "privacy": Chance(0.3)})
    assert "eval/harm/rate" in evaluate(cost=folders.cost_two).final_metrics  # an output more does no harm


def test_out_of_range_names_the_key(folders: Any) -> None:
    with pytest.raises(UserError, match=r"evaluate\.confidence=2"):
        EvaluationModule(folders.inputs(), Sampler(5), {"harm": Chance(0.3)}, EvaluateSettings(confidence=2))
