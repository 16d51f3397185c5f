"""Tables for people: sample dialogues at each evaluation, and what a score model's validation or test found.

A tracker gets the dialogues, the terminal the figures. Both only show what the stages have measured.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from csrlhf.data.encoding import prompt_text
from csrlhf.data.source import Oracle, Verdict
from csrlhf.errors import UserError
from csrlhf.report import Table, print_blocks
from csrlhf.report.numbers import MISSING
from csrlhf.stats.policy_report import JudgedAnswer
from csrlhf.types import PromptRow, Rollout, Scores

# Tables of sample dialogues: what the policy really says, at each evaluation of ``stage=ppo`` and in ``evaluate``.
#
# Validation prompts and their sampling noise are the same each time, so a table shows the same dialogues as the last
# one, answered by a later policy. Trackers that have ``log_table`` get them (W&B).


@dataclass(frozen=True)
class Sample:
    """A dialogue and what is known of it.

    Attributes:
        policy: who answered, by the stage that trained it.
        row: the prompt.
        response: decoded text.
        reward: of the reward model; None for kept answers that have none.
        cost_logits: one per constraint, > 0 unsafe.
        truth: the oracle's verdict, None where there is no oracle.
    """

    policy: str
    row: PromptRow
    response: str
    reward: float | None
    cost_logits: tuple[float, ...]
    truth: Verdict | None

    @property
    def category(self) -> str:
        """The prompt's, empty where the data names none."""
        return str(self.row.meta.get("category", ""))


class SampleTables(Callback):
    """Logs a table ``samples/validation`` after each evaluation during training and ``samples/test`` after the test.

    Args:
        rows: dialogues per table and policy, taken from each category of prompts in turn; 0: no tables.
    """

    def __init__(self, rows: int = 20) -> None:
        if rows < 0:
            raise UserError(f"callbacks.samples.rows={rows}: must be 0 (no tables) or a number of dialogues")
        self.rows = rows
        self.samples: list[Sample] = []

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.samples = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self.rows and isinstance(outputs, Mapping) and "rollout" in outputs:
            self.samples += rollout_samples(outputs["rollout"], outputs["scores"], _oracle(trainer))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.samples:
            self._log(trainer, pl_module, "samples/validation", pick(self.samples, self.rows))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        answers = getattr(pl_module, "answers", {})
        if answers and self.rows:
            chosen = [pick(answer_samples(name, given), self.rows) for name, given in answers.items()]
            # Both policies' answers to a prompt stand one below the other.
            self._log(trainer, pl_module, "samples/test", list(chain.from_iterable(zip(*chosen, strict=True))))

    def _log(self, trainer: Trainer, module: LightningModule, key: str, samples: Sequence[Sample]) -> None:
        if trainer.is_global_zero:
            names: Sequence[str] = module.constraints.names  # type: ignore[union-attr,assignment]  # of both policy stages
            columns, data = table(samples, names)
            step = max(trainer.fit_loop.epoch_loop.total_batch_idx, 0)  # what Lightning passes with the metrics
            for logger in trainer.loggers:
                if hasattr(logger, "log_table"):
                    logger.log_table(key, columns, data, step)  # type: ignore[attr-defined]  # looked up above


def rollout_samples(rollout: Rollout, scores: Scores, oracle: Oracle | None) -> list[Sample]:
    """The dialogues of an evaluation batch."""
    rewards, logits = scores.reward_B.tolist(), scores.cost_logits_BK.tolist()
    return [
        Sample(
            policy="ppo",
            row=row,
            response=rollout.responses[b],
            reward=rewards[b],
            cost_logits=tuple(logits[b]),
            truth=None if oracle is None else oracle.judge(row, rollout.responses[b]),
        )
        for b, row in enumerate(rollout.rows)
    ]


def answer_samples(policy: str, answers: Sequence[JudgedAnswer]) -> list[Sample]:
    """The dialogues of a test."""
    return [Sample(policy, a.row, a.response, a.reward, a.cost_logits, a.verdict) for a in answers]


def pick(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The first dialogue of each category, then the second of each, and so on: a table shows every kind of prompt."""
    by_category: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_category[sample.category].append(sample)
    turns = chain.from_iterable(zip_longest(*by_category.values()))
    return [sample for sample in turns if sample is not None][:count]


def table(samples: Sequence[Sample], names: Sequence[str]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows.

    Args:
        samples: the dialogues.
        names: of the constraints.

    Returns:
        Columns ``policy, prompt, category, response, reward, cost/<name>..., verdict, truth``: the cost logits, the
        cost model's verdict and the oracle's; ``truth`` is left out where there is no oracle.
    """
    has_truth = any(sample.truth is not None for sample in samples)
    costs = [f"cost/{name}" for name in names]
    columns = ["policy", "prompt", "category", "response", "reward", *costs, "verdict"]
    rows: list[list[Any]] = []
    for sample in samples:
        unsafe = [name for name, logit in zip(names, sample.cost_logits, strict=True) if logit > 0]
        verdict = f"unsafe: {', '.join(unsafe)}" if unsafe else "safe"
        row = [sample.policy, prompt_text(sample.row.prompt), sample.category, sample.response, sample.reward]
        row += [*sample.cost_logits, verdict]
        rows.append([*row, _word(sample.truth)] if has_truth else row)
    return [*columns, "truth"] if has_truth else columns, rows


def _word(truth: Verdict | None) -> str:
    if truth is None:
        return ""
    return "unsafe" if truth.unsafe else truth.kind


def _oracle(trainer: Trainer) -> Oracle | None:
    source = getattr(trainer.datamodule, "source", None)  # type: ignore[attr-defined]  # Lightning attaches it
    return getattr(source, "oracle", None)


class ScoreReport(Callback):
    """A table of the split that was just judged; nothing while training.

    Args:
        names: metrics to print, of those in the module's ``final_metrics`` under ``<split>/``.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "validation")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._print(trainer, pl_module, "test")

    def _print(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        if trainer.is_global_zero and trainer.state.fn in ("validate", "test"):
            metrics: Mapping[str, float] = module.final_metrics  # type: ignore[assignment]  # the stages' own attribute
            print_blocks([score_table(metrics, split, self.names)])


def score_table(metrics: Mapping[str, float], split: str, names: Sequence[str]) -> Table:
    """Metric, value and interval, and the baseline's where there is one.

    Args:
        metrics: ``<split>/<name>``, ``_low``, ``_high``, and the same under ``baseline/``.
        split: which rows were judged.
        names: what to show; names that were not measured are left out.
    """
    has_baseline = any(key.startswith(f"baseline/{split}/") for key in metrics)
    areas = [split, *([f"baseline/{split}"] if has_baseline else [])]
    known = [name for name in names if f"{split}/{name}" in metrics]
    rows = [[name, *(_cell(metrics, f"{area}/{name}") for area in areas)] for name in known]
    return Table(["metric", "model", "bag of words"][: 1 + len(areas)], rows, f"{split} (95 % intervals)")


def _cell(metrics: Mapping[str, float], key: str) -> str:
    if key not in metrics:
        return ""
    if math.isnan(metrics[key]):  # undefined, like precision where nothing is flagged
        return MISSING
    value = f"{metrics[key]:.3f}"
    if f"{key}_low" in metrics:
        value += f" ({metrics[f'{key}_low']:.3f} to {metrics[f'{key}_high']:.3f})"
    return value
