"""Synthetic results: what the stages leave behind, without any training."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison.jobs import LAST, Job
from benchmarks.comparison.measures import Rate, Run
from benchmarks.comparison.settings import Setting

THRESHOLD = 0.03
TRAINING = (
    *("duty", "multiplier", "cumulative_violation", "steps_to_feasible", "oscillation", "late_cost"),
    *("reward_at_cost", "collapse_warnings"),
)
COST_METRICS = ("accuracy", "recall", "auroc", "ece", "false_positives/keyword_alike")


def answer(category: str, kind: str, seen: bool = True, policy: str = "ppo") -> dict[str, Any]:
    """A line of answers.jsonl; ``kind`` is help, refusal or nothing."""
    verdict = {
        "unsafe": category == "harmful" and kind == "help",
        "helped": kind == "help",
        "refused": kind == "refusal",
    }
    return {"policy": policy, "meta": {"category": category, "framing_seen": seen}, "verdict": verdict}


def training_row(
    cost: float, multiplier: float = 1.0, weight: float = 0.0, cumulative: float = 0.0
) -> dict[str, float]:
    return {
        "constraint/harm/cost": cost,
        "constraint/harm/violation": cost - THRESHOLD,
        "constraint/harm/threshold": THRESHOLD,
        "constraint/harm/cumulative_violation": cumulative,
        "penalty/multiplier": multiplier,
        "penalty/weight": weight,
    }


def validation_row(cost: float, reward: float, collapsed: float = 0.0) -> dict[str, float]:
    return {"validation/harm/cost": cost, "validation/reward": reward, "selection/collapsed": collapsed}


def write_history(path: Path, rows: Sequence[dict[str, float]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["step", *dict.fromkeys(key for row in rows for key in row)])
        writer.writeheader()
        writer.writerows({"step": step, **row} for step, row in enumerate(rows))


def write_answers(folder: Path, answers: Iterable[dict[str, Any]]) -> None:
    (folder / "answers.jsonl").write_text("".join(json.dumps(one) + "\n" for one in answers), encoding="utf-8")


class FakeStages:
    """Stands for ``run_job``: fills the folders that a command would fill, and remembers which were asked for.

    ``broken`` holds titles of commands that fail. The last policy is another one than the best on odd seeds only.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.words: dict[str, list[str]] = {}
        self.broken: set[str] = set()
        self._lock = threading.Lock()

    def __call__(self, job: Job, threads: int) -> int:
        with self._lock:
            self.calls.append(job.title)
            self.words[job.title] = job.words()
        if job.title in self.broken:
            return 1
        job.result.mkdir(parents=True, exist_ok=True)
        metrics: dict[str, float] = {f"test/{name}": 0.9 for name in COST_METRICS}
        if job.stage == "ppo":
            metrics = {"penalty/duty_last_third": 0.25}
            self._ppo(job)
        elif job.stage == "evaluate":
            metrics = {"eval/harm/feasible": 1.0, "eval/reward": 1.5, "eval/kl": 3.0}
            unsafe = 2 if job.name.endswith(LAST) else 1
            harmful = [answer("harmful", "help" if n < unsafe else "refusal", seen=n % 2 == 0) for n in range(8)]
            harmless = [answer(category, "help") for category in ("benign", "keyword_alike") for _ in range(4)]
            write_answers(job.result, [*harmful, *harmless, answer("harmful", "help", policy="sft")])
        (job.result / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        return 0

    @staticmethod
    def _ppo(job: Job) -> None:
        rows = []
        for step in range(12):
            cost = 0.3 if step < 4 else (0.02, 0.04)[step % 2]
            rows.append(training_row(cost, multiplier=2.0, weight=8.0 * (step % 4 == 0), cumulative=1.0))
        write_history(job.result / "history.csv", [*rows, validation_row(0.02, 1.2)])
        (job.result / "last").mkdir(exist_ok=True)
        (job.result / "model.safetensors").write_bytes(b"best")
        (job.result / "last" / "model.safetensors").write_bytes(b"last" if job.seed % 2 else b"best")


@pytest.fixture
def stages() -> FakeStages:
    return FakeStages()


@pytest.fixture
def make_run():
    """Builds a Run without files: rates of 100 prompts each, numbers by keyword."""

    def build(name: str, seed: int = 0, family: str = "hinge", **given: float) -> Run:
        rates = dict.fromkeys(
            ("unsafe_seen", "unsafe_held_out", "unsafe_mix", "helped_benign", "helped_keyword_alike", "helped"), 0.5
        ) | {"over_refusal": 0.1}
        numbers = {"feasible": 1.0, "collapsed": 0.0, "reward": 1.0}
        both = rates | numbers
        both |= {f"{key}_last": value for key, value in both.items()}
        both |= dict.fromkeys(TRAINING, 0.25)
        both |= given
        is_rate = {key for key in both if key.removesuffix("_last") in rates}
        return Run(
            setting=Setting(name, family, ("penalty=rectified",)),
            seed=seed,
            rates={key: Rate(round(100 * both[key]), 100) for key in both if key in is_rate},
            numbers={key: value for key, value in both.items() if key not in is_rate},
            costs=(0.4, 0.2, 0.02),
            threshold=THRESHOLD,
        )

    return build
