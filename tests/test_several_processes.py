"""Two processes, or several micro-batches, find what one process with whole batches finds: all stages, sampling too."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed
from safetensors.torch import load_file

from csrlhf.runs.processes import run_program

STAGES = ("sft", "reward", "cost", "ppo", "evaluate")
TINY = (
    "logger=none",
    "callbacks.progress.every=1000.0",
    "callbacks.plots=null",
    "trainer.precision=64-true",
    "model.policy.architecture.hidden_size=16",
    "model.policy.architecture.intermediate_size=32",
    # Odd numbers: the last batch is short, and no split is even.
    "data.sizes.demonstrations={train: 75, validation: 17, test: 8}",
    "data.sizes.preferences={train: 45, validation: 17, test: 9}",
    "data.sizes.labelled={train: 45, validation: 17, test: 9}",
    "data.sizes.prompts={train: 64, validation: 17, test: 33}",
    "sft.epochs=1",
    "sft.batch_size=25",
    "reward.epochs=1",
    "reward.batch_size=11",
    "cost.epochs=1",
    "cost.batch_size=11",
    "cost.baseline=false",
    "penalty=lagrangian",
    "ppo.iterations=2",
    "ppo.eval_every=2",
    "ppo.batch_size=12",
    "ppo.samples_per_prompt=2",
    "ppo.critic_warmup=1",
    "ppo.minibatch_size=5",
    "ppo.num_validation=17",
    "ppo.entropy_coef=0.01",
    "ppo.ptx_coef=0.5",
    "ppo.ptx_batch_size=7",
    "ppo.target_kl=1.0e-4",
    "advantage.normalise=whiten",
    "constraints.harm.threshold=0.5",
    "constraints.harm.tau=-10.0",
    "evaluate.samples_per_prompt=3",
    "evaluate.batch_size=40",
)
TWO = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", *TINY)


def same_numbers(first: Path, second: Path) -> None:
    """Weights and metrics of two results agree far beyond float32."""
    weights = sorted(path.relative_to(first) for path in first.rglob("*.safetensors"))
    for name in weights:
        ours, theirs = load_file(first / name), load_file(second / name)
        for key, value in ours.items():
            assert (value - theirs[key]).abs().max() < 1e-9, f"{name}: {key}"
    ours, theirs = (json.loads((folder / "metrics.json").read_text(encoding="utf-8")) for folder in (first, second))
    assert ours == pytest.approx(theirs, abs=1e-6, nan_ok=True)


def folder_of(stage: str, root: Path) -> Path:
    """Where a stage's only result stands."""
    return next((root / stage).glob("*-*")) if stage in ("ppo", "evaluate") else root / stage


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, train: Callable[..., int]) -> Path:
    """The results of one process."""
    root = tmp_path_factory.mktemp("alone")
    for stage in STAGES:
        assert train(f"stage={stage}", f"artifacts={root}", *TINY) == 0
    return root


def test_two_processes_find_what_one_finds_in_every_stage(
    alone: Path, tmp_path: Path, train: Callable[..., int], on_two_processes: Callable
) -> None:
    def all_stages(rank: int) -> None:
        for stage in STAGES:
            code = train(f"stage={stage}", f"artifacts={tmp_path}", *TWO)
            if code:
                sys.exit(code)
            torch.distributed.barrier()  # the next stage reads what the first process has published

    assert on_two_processes(all_stages) == [0, 0]
    for stage in STAGES:
        same_numbers(folder_of(stage, alone), folder_of(stage, tmp_path))
    said = [(folder_of("evaluate", root) / "answers.jsonl").read_text(encoding="utf-8") for root in (alone, tmp_path)]
    ours, theirs = ([json.loads(line) for line in text.splitlines()] for text in said)
    assert [(a["id"], a["response"]) for a in ours] == [(a["id"], a["response"]) for a in theirs]
    prompts = {answer["prompt_id"] for answer in ours}
    assert len({answer["id"] for answer in ours}) == len(ours) == 2 * 3 * len(prompts)  # none twice, none left out
    assert len(prompts) % 2, "an odd number does not split evenly"


def test_two_processes_evaluate_a_cost_model_as_one_does(
    alone: Path, tmp_path: Path, train: Callable[..., int], on_two_processes: Callable
) -> None:
    words = ["stage=evaluate", "evaluate=cost_model", "evaluate.batch_size=3", "evaluate.baseline=false"]
    words += [f"inputs.cost={alone / 'cost'}", f"evaluate.outputs={folder_of('evaluate', alone) / 'answers.jsonl'}"]
    one, two = tmp_path / "one", tmp_path / "two"
    mine, theirs = ([word for word in given if "samples_per_prompt=3" not in word and word != "evaluate.batch_size=40"]
                    for given in (TINY, TWO))  # fmt: skip
    assert train(*mine, *words, f"artifacts={one}") == 0
    assert on_two_processes(lambda rank: sys.exit(train(*theirs, *words, f"artifacts={two}"))) == [0, 0]
    same_numbers(folder_of("evaluate", one), folder_of("evaluate", two))
    assert (folder_of("evaluate", one) / "predictions.jsonl").stat().st_size > 1000


def test_two_processes_without_a_critic_find_what_one_finds(
    alone: Path, tmp_path: Path, train: Callable[..., int], on_two_processes: Callable
) -> None:
    """Four answers per prompt, six answers per process: the second of three groups is on both."""
    words = [f"inputs.{stage}={alone / stage}" for stage in STAGES[:3]]
    words += ["stage=ppo", "advantage=rloo", "ppo.kl_control=adaptive", "ppo.kl_target=0.5", "ppo.kl_horizon=20"]
    changed = ["ppo.samples_per_prompt=4", "ppo.reward_normalise=whiten", "ppo.cost_normalise=scale"]
    changed += ["penalty=rectified", "penalty.multiplier=2", "penalty.margin_z=0", "penalty.gate=leave_one_out"]
    changed += ["constraints.harm.tau=0.3", "constraints.harm.threshold=0.49"]
    tiny, both = ([word for word in of if not word.startswith(("penalty=", "constraints."))] for of in (TINY, TWO))
    one, two = tmp_path / "one", tmp_path / "two"
    assert train(*words, f"artifacts={one}", *tiny, *changed) == 0

    def work(rank: int) -> None:
        sys.exit(train(*words, f"artifacts={two}", *both, *changed))

    assert on_two_processes(work) == [0, 0]
    same_numbers(folder_of("ppo", one), folder_of("ppo", two))
    metrics = json.loads((folder_of("ppo", two) / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["policy/kl_coef"] != 0.1
    assert metrics["penalty/effective_multiplier"] != metrics["penalty/multiplier"]
    assert "critic/loss" not in metrics


def test_two_processes_remember_what_one_remembers(
    alone: Path, tmp_path: Path, train: Callable[..., int], on_two_processes: Callable
) -> None:
    """A tail over a window that holds parts of two batches: neither is a mean of what the processes find alone."""
    words = [f"inputs.{stage}={alone / stage}" for stage in STAGES[:3]]
    words += ["constraint=cvar", "constraints.harm.alpha=0.7", "constraints.harm.window=17"]
    words += ["constraints.harm.scale=logit", "constraints.harm.threshold=-0.05", "stage=ppo"]
    assert train(*TINY, *words, f"artifacts={tmp_path / 'one'}") == 0
    codes = on_two_processes(lambda rank: sys.exit(train(*TWO, *words, f"artifacts={tmp_path / 'two'}")))
    assert codes == [0, 0]
    same_numbers(folder_of("ppo", tmp_path / "one"), folder_of("ppo", tmp_path / "two"))


def test_micro_batches_find_what_whole_batches_find(alone: Path, tmp_path: Path, train: Callable[..., int]) -> None:
    split = [f"{stage}.accumulate=3" for stage in ("sft", "reward", "cost", "ppo")]
    for stage in STAGES[:4]:
        assert train(f"stage={stage}", f"artifacts={tmp_path}", *TINY, *split) == 0
        same_numbers(folder_of(stage, alone), folder_of(stage, tmp_path))


def test_lightning_s_own_launcher_starts_the_second_process(repository: Path, tmp_path: Path) -> None:
    words = ["stage=sft", f"artifacts={tmp_path}", *TWO]
    log = tmp_path / "log"
    # The first process as the pipeline starts it; the second is Lightning's to start.
    code = run_program([sys.executable, str(repository / "train.py"), *words], os.environ, log)
    said = log.read_text(encoding="utf-8")
    assert code == 0, said
    assert said.count(f"sft: {tmp_path / 'sft'} (") == 1  # said once, not by each
    assert (tmp_path / "sft" / "model.safetensors").is_file()


def test_several_devices_without_a_strategy_are_refused(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line("stage=sft", f"artifacts={tmp_path}", "trainer.devices=2", *TINY)
    assert outcome.code == 1
    assert "trainer.devices=2: several processes need a strategy; add trainer=ddp" in outcome.err


def test_more_parts_than_rows_are_refused(command_line: Callable, tmp_path: Path) -> None:
    outcome = command_line("stage=sft", f"artifacts={tmp_path}", *TINY, "sft.accumulate=26")
    assert outcome.code == 1
    assert "sft.batch_size=25: fewer rows than 1 processes x sft.accumulate=26" in outcome.err
