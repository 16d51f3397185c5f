"""The evaluation behind ``benchmarks.paper``: a seed's policies on the same prompts, judged by everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks.comparison.jobs import Folders, Job, assign, quoted
from benchmarks.comparison.settings import loss_settings
from csrlhf.evaluation.answers.records import Answer, read_answers

OURS, RIVAL = "semantic-rectified", "pairwise-lagrangian"
"""The settings of ``benchmarks.losses`` that stand for CS-RLHF and Safe-RLHF."""

POLICIES = {
    "cs_rlhf": "CS-RLHF",
    "safe_rlhf": "Safe-RLHF",
    "cs_rlhf_last": "CS-RLHF, last",
    "safe_rlhf_last": "Safe-RLHF, last",
    "sft": "SFT",
}
"""Name in the evaluation: name in the tables. Of each run the selected policy, and the last, as papers have it."""

SAMPLES = 4
"""Answers of each policy to each prompt."""


def paper_job(folders: Folders, seed: int) -> Job:
    """One command: all policies, judged by the oracle and by both cost models.

    The semantic cost model gives the cost logits, the pairwise one is ``evaluate.judge``; the oracle's verdicts come
    with the toy world.
    """
    root, base = folders.out / f"seed{seed}", folders.base / f"seed{seed}"
    ours, rival = (folders.run(loss_settings()[name], seed)[0].result for name in (OURS, RIVAL))
    trained = {"safe_rlhf": rival, "cs_rlhf": ours}
    last = {f"{name}_last": folder / "last" for name, folder in trained.items()}
    policies = {"sft": base / "sft", **trained, **last}
    models = {"sft": base / "sft", "reward": base / "reward", "cost": folders.cost_model(seed, "semantic")}
    places = (
        assign("artifacts", root),
        "name=paper",
        *(assign(f"inputs.{name}", folder) for name, folder in models.items()),
        f"evaluate.policies={{{','.join(f'{name}:{quoted(folder)}' for name, folder in policies.items())}}}",
        assign("evaluate.judge", folders.cost_model(seed, "pairwise")),
    )
    overrides = (f"evaluate.samples_per_prompt={SAMPLES}", *folders.overrides)
    return Job("evaluate", "paper", seed, root, overrides, places, root / "evaluate" / "paper")


def read_seed(job: Job) -> list[Answer]:
    """The seed's answers; ids carry the seed, so that seeds can be put together."""
    return [_of_seed(answer, job.seed) for answer in read_answers(job.result / "answers.jsonl")]


def _of_seed(answer: Answer, seed: int) -> Answer:
    return replace(answer, id=f"{seed}/{answer.id}", prompt_id=f"{seed}/{answer.prompt_id}")


def answers_of(answers: Sequence[Answer], policy: str) -> list[Answer]:
    """Those of one policy."""
    return [answer for answer in answers if answer.policy == policy]
