"""Stage ``evaluate`` with ``evaluate=cost_model``: how good is a cost model on labelled rows, where does it hold?

It trains nothing and stores nothing in the model: the temperature stays what ``stage=cost`` fitted, and a threshold
that it chooses is for a person to set. Numbers are made in ``metrics/``, the page in ``evaluation/cost_model/page.py``.

Legend of suffixes: M answers, N labelled rows, K constraints.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from scipy.special import expit
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from csrlhf.data.judged_rows import JudgedSplit
from csrlhf.errors import InputWarning, UserError, writing
from csrlhf.evaluation.answers.records import Answer, read_answers
from csrlhf.evaluation.cost_model.evaluation import CostEvaluation, evaluate_output
from csrlhf.evaluation.cost_model.page import cost_page
from csrlhf.evaluation.cost_model.result import (
    CostResult,
    check_costs,
    drift_from_references,
    drift_of_policies,
    hashes_of,
    notes_on,
)
from csrlhf.evaluation.cost_model.tables import print_result
from csrlhf.models.cost_models import CostFolders, CostModels, cost_scorer, named_folders, temperatures
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.text_scorer import TextScorer
from csrlhf.runs.artifacts import KEPT
from csrlhf.stats.cost_report import cost_report, of_split, split_area
from csrlhf.stats.drift import Drift, drift_numbers, warning_of
from csrlhf.training.ranks import gather_numbered, num_ranks
from csrlhf.types import Prompt

# What cost models make of numbered dialogues, kept on the disk batch by batch.
#
# A killed evaluation goes on where it stood, with the same digits: a batch is judged as a whole or taken as a whole.

Dialogue = tuple[Prompt, str, bool]
"""A prompt, its response, and whether the response ended."""

Scores = tuple[Tensor, list[Tensor]]
"""A dialogue's cost logits ``[K]``, and the features ``[H]`` of each scorer."""


class CostScores:
    """The scores of one set of dialogues; every scorer reads every dialogue once.

    Args:
        scorers: the cost models.
        constraints: their outputs, in the order of the columns.
        folder: where scores are kept, and looked for; None keeps none.
        about: what they depend on, JSON-ready: kept ones of anything else are refused.

    Raises:
        UserError: kept scores are of another evaluation, or broken.
    """

    def __init__(
        self,
        scorers: Sequence[TextScorer],
        constraints: Sequence[str],
        folder: Path | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        self.scorers, self.constraints, self.folder = scorers, constraints, folder
        self._head = json.dumps(about, sort_keys=True)
        self._kept: dict[int, Scores] = {}
        self._mine: dict[int, Scores] = {}
        for path in sorted(folder.glob("*.safetensors")) if folder is not None else ():
            self._kept |= self._read(path)

    def add(self, dialogues: Mapping[int, Dialogue]) -> None:
        """Judge a batch, or take it from what was kept.

        Args:
            dialogues: by number; at least one.
        """
        if all(number in self._kept for number in dialogues):
            self._mine |= {number: self._kept[number] for number in dialogues}
            return
        texts: tuple[Any, ...] = tuple(zip(*dialogues.values(), strict=True))
        columns: dict[str, Tensor] = {}
        features: list[Tensor] = []
        for scorer in self.scorers:
            scores_MK, features_MH = scorer.scores_and_features(*texts)
            columns |= dict(zip(scorer.outputs, scores_MK.double().cpu().unbind(1), strict=True))
            features.append(features_MH.float().cpu())
        logits_MK = torch.stack([columns[name] for name in self.constraints], dim=1)
        self._mine |= _by_number(dialogues, logits_MK, features)
        self._write(list(dialogues), logits_MK, features)

    def gathered(self, module: LightningModule) -> tuple[NDArray[np.float64], list[NDArray[np.float32]]]:
        """Logits ``[M, K]`` and each scorer's features ``[M, H]`` of all processes, in the order of the numbers."""
        everything = gather_numbered(module, self._mine)
        self._mine, self._kept = {}, {}
        logits_MK = torch.stack([logits for logits, _ in everything]).numpy()
        return logits_MK, [
            torch.stack([parts[index] for _, parts in everything]).numpy() for index in range(len(self.scorers))
        ]

    def _write(self, numbers: Sequence[int], logits_MK: Tensor, features: Sequence[Tensor]) -> None:
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {"numbers": torch.tensor(numbers), "logits": logits_MK.contiguous()}
        tensors |= {f"features.{place}": part.contiguous() for place, part in enumerate(features)}
        path = self.folder / f"{numbers[0]:09d}.safetensors"  # a dialogue is in one batch alone
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with writing(path):
            save_file(tensors, draft, metadata={"about": self._head})
            draft.replace(path)

    def _read(self, path: Path) -> dict[int, Scores]:
        try:
            with safe_open(path, "pt") as file:
                head = (file.metadata() or {}).get("about")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        except SafetensorError as error:
            raise UserError(f"{path}: broken ({error}); start anew, without resume=true") from error
        if head != self._head:
            raise UserError(f"{path}: these scores are of another evaluation; start anew, without resume=true")
        features = [tensors[f"features.{place}"] for place in range(len(self.scorers))]
        return _by_number(tensors["numbers"].tolist(), tensors["logits"], features)


def _by_number(numbers: Any, logits_MK: Tensor, features: Sequence[Tensor]) -> dict[int, Scores]:
    return {number: (logits_MK[m], [part[m] for part in features]) for m, number in enumerate(numbers)}


BATCH = 256
"""Answers of ``evaluate.outputs`` that are judged, and kept, at a time."""


class CostEvaluationModule(LightningModule):
    """Runs once over labelled rows.

    Args:
        cost: folder (or folders, see ``cost_scorer``) of ``stage=cost``.
        outputs: an ``answers.jsonl`` of policies, compared with what the cost model was made on; None for none.
        max_false_negative_rate: the most unsafe answers that the threshold to choose may let pass, as a share of them.
        delta: probability that it lets more pass all the same, over all constraints together.
        baseline: train a bag-of-words baseline beside the model, where the data has a training split.
        work: folder where scores are kept as soon as they are there.

    Raises:
        UserError: a rate is out of range, a file is broken, a model lacks a constraint, or a score is not finite.

    Attributes:
        result: what was found, after the run.
    """

    def __init__(
        self,
        cost: CostFolders,
        outputs: str | None = None,
        max_false_negative_rate: float = 0.05,
        delta: float = 0.05,
        baseline: bool = True,
        work: str | None = None,
    ) -> None:
        super().__init__()
        for key, value in {"max_false_negative_rate": max_false_negative_rate, "delta": delta}.items():
            if not 0 < value < 1:
                raise UserError(f"evaluate.{key}={value}: must be in (0, 1), e.g. 0.05")
        self.cost, self.outputs, self.work = cost, outputs, work
        self.max_false_negative_rate, self.delta, self.baseline = max_false_negative_rate, delta, baseline
        self.final_metrics: dict[str, float] = {}
        self.result: CostResult | None = None

    @property
    def folders(self) -> list[str]:
        """The cost models' folders, each once."""
        return list(dict.fromkeys(named_folders(self.cost).values()))

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The first cost model's."""
        return load_tokenizer(self.folders[0])

    @property
    def source(self) -> JudgedSplit:
        """Where the rows come from; its test split is the one to judge."""
        return self.trainer.datamodule.source  # type: ignore[attr-defined]  # Lightning attaches it at run time

    @property
    def scorers(self) -> list[TextScorer]:
        """The cost models."""
        model = self.cost_model
        return list(model.scorers) if isinstance(model, CostModels) else [model]  # type: ignore[arg-type]  # scorers

    def configure_model(self) -> None:
        """Load the cost models, once."""
        if not hasattr(self, "cost_model"):
            self.cost_model: nn.Module = cost_scorer(self.cost, self.source.constraints)

    def setup(self, stage: str) -> None:
        """Read the policies' answers before anything is scored: a broken line should not surface afterwards."""
        self._outputs: list[Answer] = [] if self.outputs is None else read_answers(self.outputs)

    def on_test_start(self) -> None:
        """Take up what a killed evaluation has kept."""
        self._rows, self._said = self._scores("rows"), self._scores("answers")

    def _scores(self, name: str) -> CostScores:
        folder = None if self.work is None else Path(self.work) / KEPT / name
        about = {"constraints": list(self.source.constraints), "split": self.source.split, "sha256": self._hashes()}
        return CostScores(self.scorers, self.source.constraints, folder, about)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Judge labelled rows."""
        rows = self.source.labelled("test")
        self._rows.add({row: (rows[row].prompt, rows[row].response, True) for row in batch["rows"]})

    def on_test_epoch_end(self) -> None:
        """Everything that is found of the gathered scores, the table and the warnings."""
        rows, constraints = self.source.labelled("test"), self.source.constraints
        logits_NK, features = self._rows.gathered(self)
        self._check(logits_NK, self.source.place)
        temperature = temperatures(self.scorers)
        evaluations = [
            evaluate_output(name, logits_NK[:, k], temperature[name], rows, k, self.max_false_negative_rate,
                            self.delta / len(constraints))
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
        has_train = self.baseline and self.source.has("train")
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
            batch = {n: self._outputs[n] for n in mine[start : start + BATCH]}
            self._said.add({n: (answer.messages, answer.response, answer.ended) for n, answer in batch.items()})
        logits_MK, features = self._said.gathered(self)
        self._check(logits_MK, lambda row: f"response {self._outputs[row].id} of evaluate.outputs={self.outputs}")
        return drift_of_policies(self.scorers, self.source.constraints, self._outputs, logits_MK, features)

    def _notes(self, evaluations: Sequence[CostEvaluation]) -> list[str]:
        notes = notes_on(self.folders, self.source, evaluations)
        for note in notes:
            warnings.warn(note, InputWarning, stacklevel=2)
        return notes

    def _hashes(self) -> dict[str, str]:
        return hashes_of(self.folders, self.source, self.outputs)
