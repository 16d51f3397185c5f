"""Stage ``evaluate`` with ``evaluate=cost_model``: how good is a cost model on labelled rows, where does it hold?

It trains nothing and stores nothing in the model: the temperature stays what ``stage=cost`` fitted, and a threshold
that it chooses is for a person to set. Numbers are made in ``csrlhf/stats`` and ``evaluation.py``, the page in
``page.py``.

A killed evaluation goes on where it stood: scores are kept batch by batch.

Legend of suffixes: M dialogues, N labelled rows, K constraints, H features.
"""

from __future__ import annotations

import json
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from csrlhf.data.encoding import seen_response
from csrlhf.data.score_data import JudgedSplit
from csrlhf.data.seen import COST_MODEL, Seen
from csrlhf.data.thoughts import split_thought
from csrlhf.errors import InputWarning
from csrlhf.evaluation.answers.journal import JournalModule
from csrlhf.evaluation.answers.records import Answer, read_answers
from csrlhf.evaluation.cost_model.evaluation import CostEvaluation, evaluate_output
from csrlhf.evaluation.cost_model.page import cost_page, print_result
from csrlhf.evaluation.cost_model.result import (
    CostResult,
    check_costs,
    drift_from_references,
    drift_of_policies,
    hashes_of,
    notes_on,
)
from csrlhf.evaluation.settings import CostEvaluationSettings
from csrlhf.runs.artifacts import KEPT
from csrlhf.scorers.base import COST, Scorer
from csrlhf.scorers.build import check as check_scorer
from csrlhf.scorers.costs import CostScorers, cost_scorer, parts_of, temperatures
from csrlhf.scorers.specs import fingerprint, label, named
from csrlhf.stats.cost_report import cost_report, of_split, split_area
from csrlhf.stats.drift import Drift, drift_numbers, warning_of
from csrlhf.training.ranks import num_ranks
from csrlhf.types import Prompt

Dialogue = tuple[Prompt, str, bool]
"""A prompt, its response, and whether the response ended."""


@dataclass(frozen=True)
class Scores:
    """What cost models make of a dialogue.

    Attributes:
        logits_K: cost logits, in the order of the constraints.
        features: pooled states ``[H]`` of each scorer.
    """

    logits_K: NDArray[np.float64]
    features: Sequence[NDArray[np.float32]]

    def pack(self) -> str:
        """As JSON on one line, to the bit."""
        return json.dumps([b64encode(part.tobytes()).decode() for part in (self.logits_K, *self.features)])

    @staticmethod
    def unpack(given: Sequence[str]) -> Scores:
        """Back from what ``json.loads`` makes of it."""
        logits, *features = map(b64decode, given)
        return Scores(np.frombuffer(logits), [np.frombuffer(part, np.float32) for part in features])


BATCH = 256
"""Answers of ``evaluate.outputs`` that are judged, and kept, at a time."""


class CostEvaluationModule(JournalModule):
    """Runs once over labelled rows.

    Args:
        cost: one scorer or several (see ``cost_scorer``): a folder of ``stage=cost``, as a rule.
        settings: the group ``evaluate``, of a cost model.
        work: folder where scores are kept as soon as they are there.

    Raises:
        UserError: a file is broken, a model lacks a constraint, or a score is not finite.

    Attributes:
        result: what was found, after the run.
    """

    def __init__(
        self,
        cost: CostScorers,
        settings: CostEvaluationSettings,
        work: str | None = None,
    ) -> None:
        super().__init__()
        check_scorer("inputs.cost", cost, COST)
        self.cost, self.settings, self.outputs, self.work = cost, settings, settings.outputs, work
        self.final_metrics: dict[str, float] = {}
        self.result: CostResult | None = None

    @property
    def folders(self) -> list[str]:
        """Where the cost models come from, each once."""
        return list(dict.fromkeys(label(one) for one in named(self.cost).values()))

    tokenizer = None
    """Rows are handed to scorers as texts."""

    @property
    def source(self) -> JudgedSplit:
        """Where the rows come from; its test split is the one to judge."""
        return self.trainer.datamodule.source  # type: ignore[attr-defined]  # Lightning attaches it at run time

    @property
    def scorers(self) -> list[Scorer]:
        """The cost models."""
        return parts_of(self.cost_model)

    def configure_model(self) -> None:
        """Load the cost models, once."""
        if not hasattr(self, "cost_model"):
            self.cost_model = cost_scorer(self.cost, self.source.constraints)
            if self.work is not None:
                self.cost_model.keep_in(Path(self.work) / KEPT)

    def setup(self, stage: str) -> None:
        """Read the policies' answers before anything is scored: a broken line should not surface afterwards."""
        self._outputs: list[Answer] = [] if self.outputs is None else read_answers(self.outputs)

    def on_test_start(self) -> None:
        """Take up what a killed evaluation has kept."""
        about = {"constraints": list(self.source.constraints), "split": self.source.split, "sha256": self._hashes()}
        self.open_journal(about, Scores.pack, Scores.unpack)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Judge labelled rows."""
        rows = self.source.labelled("test")
        dialogues = [(rows[row].prompt, self._seen(rows[row].response), True) for row in batch["rows"]]
        self.journal.batch("rows", batch["rows"], lambda: self._scores(dialogues))

    def _seen(self, response: str) -> str:
        """What a user sees of a response, unless the first scorer's folder says that thoughts are scored."""
        tokenizer: Any = getattr(self.scorers[0], "tokenizer", None)  # a function or an endpoint has none
        return split_thought(response, opened=False)[1] if tokenizer is None else seen_response(tokenizer, response)

    def _scores(self, dialogues: Sequence[Dialogue]) -> list[Scores]:
        """Every scorer reads every dialogue once."""
        texts: tuple[Any, ...] = tuple(zip(*dialogues, strict=True))
        columns: dict[str, Tensor] = {}
        features: list[NDArray[np.float32]] = []
        for scorer in self.scorers:
            scores_MK, features_MH = scorer.scores_and_features(*texts)
            columns |= dict(zip(scorer.outputs, scores_MK.double().cpu().unbind(1), strict=True))
            features.append(features_MH.float().cpu().numpy())
        logits_MK = torch.stack([columns[name] for name in self.source.constraints], dim=1).numpy()
        return [Scores(logits_K, [part[m] for part in features]) for m, logits_K in enumerate(logits_MK)]

    def _all(self, name: str) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        """Logits ``[M, K]`` and each scorer's features ``[M, H]`` of all processes, in the order of the numbers."""
        found: list[Scores] = self.gathered(name)
        features = [np.stack(parts) for parts in zip(*(one.features for one in found), strict=True)]
        return np.stack([one.logits_K for one in found]), features

    def on_test_epoch_end(self) -> None:
        """Everything that is found of the gathered scores, the table and the warnings."""
        rows, constraints = self.source.labelled("test"), self.source.constraints
        logits_NK, features = self._all("rows")
        self._check(logits_NK, self.source.place)
        temperature = temperatures(self.scorers)
        evaluations = [
            evaluate_output(name, logits_NK[:, k], temperature[name], rows, k, self.settings.max_false_negative_rate,
                            self.settings.delta / len(constraints))
            for k, name in enumerate(constraints)
        ]  # fmt: skip
        texts = [row.prompt for row in rows], [row.response for row in rows]
        labelled = drift_from_references(self.scorers, constraints, *texts, logits_NK, features)
        drift = {"labelled": labelled} | self._drift_of_answers()
        drift = {name: found for name, found in drift.items() if found}
        split = self.source.split
        self.final_metrics |= self._numbers(split, logits_NK, evaluations) | drift_numbers(drift)
        self.log_dict({key: value for key, value in self.final_metrics.items() if np.isfinite(value)})
        names = ", ".join(Path(folder).resolve().name for folder in self.folders)
        notes = [*self._notes(evaluations), *filter(None, (warning_of(name, found) for name, found in drift.items()))]
        self.result = CostResult(names, split, rows, evaluations, self.final_metrics, drift, notes, self._hashes())
        if self.trainer.is_global_zero:
            print_result(self.result)

    @property
    def seen(self) -> Seen:
        """The prompts by whose labels a threshold is chosen."""
        prompts = [row.prompt for row in self.source.labelled("test")]
        return Seen(COST_MODEL, {Path(folder).name: folder for folder in self.folders}, prompts)

    def export(self, folder: Path) -> None:
        """Write predictions, the whole result, the page and its figures."""
        assert self.result is not None, "export comes after the run"
        hashes = self.result.write(folder)
        self.report = cost_page(self.result, hashes)
        self.report.write(folder / "report.html")
        self.report.save_figures(folder / "plots")

    def _check(self, logits_MK: NDArray[np.float64], place: Callable[[int], str]) -> None:
        check_costs(logits_MK, self.source.constraints, self.folders, place)

    def _numbers(
        self, split: str, logits_NK: NDArray[np.float64], evaluations: Sequence[CostEvaluation]
    ) -> dict[str, float]:
        has_train = self.settings.baseline and self.source.has("train")
        train_rows = self.source.labelled("train") if has_train else []
        report = cost_report(self.source.constraints, expit(logits_NK), self.source.labelled("test"), train_rows)
        numbers = of_split(split, report)
        for one in evaluations:
            area = split_area(split, one.name, self.source.constraints)
            numbers |= {f"{area}/{key}": value for key, value in one.numbers().items()}
        return numbers

    def _drift_of_answers(self) -> dict[str, list[Drift]]:
        """Of every policy in ``evaluate.outputs``."""
        if not self._outputs:
            return {}
        mine = range(self.global_rank, len(self._outputs), num_ranks(self))
        for start in range(0, len(mine), BATCH):
            numbers = mine[start : start + BATCH]
            said = [(one.messages, one.response, one.ended) for one in (self._outputs[n] for n in numbers)]
            self.journal.batch("answers", numbers, lambda said=said: self._scores(said))
        logits_MK, features = self._all("answers")
        self._check(logits_MK, lambda row: f"response {self._outputs[row].id} of evaluate.outputs={self.outputs}")
        return drift_of_policies(self.scorers, self.source.constraints, self._outputs, logits_MK, features)

    def _notes(self, evaluations: Sequence[CostEvaluation]) -> list[str]:
        notes = notes_on(self.folders, self.source, evaluations)
        for note in notes:
            warnings.warn(note, InputWarning, stacklevel=2)
        return notes

    def _hashes(self) -> dict[str, str]:
        models = {label(one): fingerprint(one) for one in named(self.cost).values()}
        return hashes_of(models, self.source, self.outputs)
