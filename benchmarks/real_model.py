"""Constrained PPO on a real instruct model: ``python -m benchmarks.real_model --data DIR``.

SmolLM2-135M-Instruct (``make install-real``) learns from three fifths of the labelled dialogues; a second cost model,
of another kind and trained on the rest, judges it. One base (SFT, reward and cost model), then PPO with several
strategies on several seeds, then one evaluation of all policies. What is finished is kept under ``--out`` and not made
again. docs/explanation/real_model.md says what DIR holds, what was measured, and on which prompts the judge counts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import Job, Pool, assign, quoted
from csrlhf.errors import UserError

SETTINGS: Mapping[str, tuple[str, ...]] = {
    "rectified": (),
    "lagrangian": ("penalty=lagrangian",),
    "none": ("penalty=none",),
}
"""The strategies compared: ``experiment=smollm2`` with these overrides."""

JUDGE_SHARE = 0.4
"""Of the labelled dialogues: those that the judge learns from, and nothing else does."""

SECONDS = {"sft": 180.0, "reward": 240.0, "cost": 300.0, "ppo": 1500.0, "evaluate": 1200.0}
"""What a stage may take on one idle core, for the time left: estimates, not measured on an idle machine."""


@dataclass(frozen=True)
class Files:
    """The rows of each part, written once.

    Attributes:
        data: the folder with cs_rlhf/, alpaca_eval/ and xstest/.
        out: where the parts are kept.
    """

    data: Path
    out: Path

    @property
    def learned(self) -> Path:
        """Dialogues that policy and cost model learn from."""
        return self.out / "learned.jsonl"

    @property
    def judged(self) -> Path:
        """Dialogues that the judge learns from."""
        return self.out / "judged.jsonl"

    @property
    def asked(self) -> Path:
        """Harmful prompts of the evaluation."""
        return self.out / "asked.jsonl"

    def write(self) -> None:
        """Divide the labelled dialogues by a hash of their prompts; prompts of the pairs beside them are asked.

        Raises:
            UserError: a file is missing.
        """
        rows = self._read("train.jsonl")
        mine = [hashed(row["prompt"]) >= JUDGE_SHARE for row in rows]
        known = {row["prompt"] for row in (*rows, *self._read("validation.jsonl"))}
        pairs = (*self._read("preferences_validation.jsonl"), *self._read("preferences_train.jsonl"))
        asked = [row["prompt"] for row in pairs if row["prompt"] not in known]
        chosen = sorted(dict.fromkeys(asked), key=hashed)[:150]
        self.out.mkdir(parents=True, exist_ok=True)
        _write(self.learned, (row for row, is_mine in zip(rows, mine, strict=True) if is_mine))
        _write(self.judged, (row for row, is_mine in zip(rows, mine, strict=True) if not is_mine))
        _write(self.asked, ({"prompt": prompt, "category": "harmful"} for prompt in chosen))

    def _read(self, name: str) -> list[dict[str, Any]]:
        path = self.data / "cs_rlhf" / name
        if not path.is_file():
            raise UserError(f"--data {self.data}: no {path.relative_to(self.data)}; docs/explanation/real_model.md")
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def hashed(prompt: str) -> float:
    """A number in [0, 1) that is a prompt's own."""
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8]) / 2**64


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Study:
    """The commands of the study.

    Args:
        files: the rows.
        root: where results are kept.
        overrides: of the PPO runs.
    """

    def __init__(self, files: Files, root: Path, overrides: Sequence[str] = ()) -> None:
        self.files, self.root, self.overrides = files, root, tuple(overrides)
        self.common = (
            "experiment=smollm2",
            assign("data.folder", files.data),
            assign("data.sources.dialogues.train", files.learned),
            assign("data.sources.dialogues.test", files.asked),
        )

    def base(self) -> list[Job]:
        """SFT, reward and cost model, and the judge."""
        parts = [f"data.sources.xstest.train=[{','.join(quoted(path) for path in self._answers())}]"]
        judge = (
            *("model=smollm2_frozen", "data=jsonl_xstest", assign("data.sources.own.train", self.files.judged)),
            assign("data.sources.own.validation", self.files.data / "cs_rlhf" / "validation.jsonl"),
            *parts,
        )
        return [
            self._job("sft", "sft", 0, self.common, self.root / "sft"),
            self._job("reward", "reward", 0, self.common, self.root / "reward"),
            self._job("cost", "cost", 0, self.common, self.root / "cost"),
            self._job("cost", "judge-cost", 0, judge, self.root / "judge" / "cost"),
        ]

    def policies(self, settings: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        """PPO runs."""
        return [
            self._job("ppo", f"{name}-seed{seed}", seed, self._words(name), self._policy(name, seed))
            for seed in seeds
            for name in settings
        ]

    def evaluation(self, settings: Sequence[str], seeds: Sequence[int]) -> Job:
        """All policies and the one that they started from, on the same prompts."""
        names = {f"{name}-seed{seed}": self._policy(name, seed) for seed in seeds for name in settings}
        folders = {"sft": self.root / "sft", **names}
        known = ",".join(f"{name}: {quoted(folder)}" for name, folder in folders.items())
        asked = (f"evaluate.policies={{{known}}}", assign("evaluate.judge", self.root / "judge" / "cost"))
        return self._job("evaluate", "all", 0, (*self.common, *asked), self.root / "evaluate" / "all")

    def _job(self, stage: str, name: str, seed: int, words: tuple[str, ...], result: Path) -> Job:
        inputs = {"sft": (), "reward": ("sft",), "cost": ("sft",)}.get(stage, ("sft", "reward", "cost"))
        given = tuple(assign(f"inputs.{one}", self.root / one) for one in inputs)
        artifacts = result.parent if stage in ("sft", "reward", "cost") else self.root
        places = (assign("artifacts", artifacts), f"name={name}", *given)
        return Job(stage, name, seed, self.root, words, places, result)

    def _words(self, name: str) -> tuple[str, ...]:
        return (*self.common, *SETTINGS[name], *self.overrides)

    def _policy(self, name: str, seed: int) -> Path:
        return self.root / "ppo" / f"{name}-seed{seed}"

    def _answers(self) -> list[Path]:
        found = sorted((self.files.data / "xstest").glob("completions_*.csv"))
        if not found:
            raise UserError(f"--data {self.files.data}: no xstest/completions_<model>.csv")
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="holds cs_rlhf/, alpaca_eval/ and xstest/")
    parser.add_argument("--out", type=Path, default=Path("artifacts/real_model"), help="where the runs are kept")
    parser.add_argument("--settings", nargs="+", choices=sorted(SETTINGS), default=list(SETTINGS), help="strategies")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of PPO")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="runs side by side")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--stop-after", choices=["base", "ppo"], help="make no more than this")
    parser.add_argument("--overrides", nargs="+", default=[], metavar="KEY=VALUE", help="of the PPO runs")
    options = parser.parse_args(arguments)
    root = options.out.resolve()
    files = Files(options.data.resolve(), root / "data")
    files.write()
    study, pool = Study(files, root, options.overrides), Pool(options.workers, options.threads, seconds=SECONDS)
    steps = [("base", study.base()), ("ppo", study.policies(options.settings, options.seeds))]
    steps.append(("evaluate", [study.evaluation(options.settings, options.seeds)]))
    for name, jobs in steps:
        pool.make([[job] for job in jobs])
        if pool.failed or name == options.stop_after:
            break
    for job in pool.failed:
        print(f"failed: {job.title}, see {job.log}", flush=True)
    return 1 if pool.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
