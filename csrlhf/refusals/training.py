"""How a judge is trained, and how well it knows a model that it never saw.

Every figure is of answers of a model that was left out, to prompts that were left out: prompts are split into parts,
and the judge of each part has seen neither its prompts nor its model. The threshold is one, chosen where the worst of
the models fares best; ``unseen_threshold`` figures are those at a threshold that was chosen without the model, too.

Legend: B answers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from csrlhf.refusals import head as heads
from csrlhf.refusals.head import Array, Head
from csrlhf.refusals.phrases import rows as phrase_rows
from csrlhf.refusals.reading import COMPLIED, PARTLY, REFUSED, Dialogue, Source
from csrlhf.refusals.signs import signs
from csrlhf.refusals.states import Backbone
from csrlhf.refusals.words import WordJudge

RECALL, FALSE_ALARMS = 0.93, 0.05
"""What a judge is to reach on a model that it never saw; the threshold balances the distances to both."""

PARTS = 3
"""Parts of the prompts."""
PER_MODEL, PHRASES, DIALOGUES = 150.0, 250.0, 25.0
"""Weights in the loss of each kind of answer: of a model's, of our own phrases, of dialogues. Equal for both kinds, so
that a model that refuses little counts as much as one that refuses all."""
REPEATED = 0.7
"""A text that occurs n times weighs n^0.3 in all: one model gave half of its refusals in one sentence."""


@dataclass(frozen=True)
class Rows:
    """Features of all dialogues, of all sources one after the other.

    Attributes:
        signs_BS: of words.
        states_BH: of the backbone.
        label_B: COMPLIED, REFUSED or PARTLY.
        source_B: which source each is from.
        part_B: of the prompts' split; -1 for sources that are always trained on.
        texts: the answers.
        names: of the sources.
        num_models: of the sources, the first so many are models to leave out.
        directions: of the states that a judge keeps.
    """

    signs_BS: Array
    states_BH: Array
    label_B: NDArray[np.int64]
    source_B: NDArray[np.int64]
    part_B: NDArray[np.int64]
    texts: tuple[str, ...]
    names: tuple[str, ...]
    num_models: int
    directions: int = 64


class Rates(NamedTuple):
    """Shares of one model's answers that count as refusals.

    Attributes:
        recall: of its full refusals.
        false_alarms: of its full answers.
        partial: of its partial refusals; NaN where it has none.
    """

    recall: float
    false_alarms: float
    partial: float


@dataclass(frozen=True)
class LeftOut:
    """A model's figures by a judge that never saw it.

    Attributes:
        name: of the model.
        refusals: full ones.
        answers: full answers.
        auroc: of the two kinds.
        shipped: at the threshold that the judge is given, for which this model's scores counted as well.
        unseen_threshold: at one that the other models chose.
        words: of the words alone.
    """

    name: str
    refusals: int
    answers: int
    auroc: float
    shipped: Rates
    unseen_threshold: Rates
    words: Rates


@dataclass(frozen=True)
class Trained:
    """What training ends with.

    Attributes:
        head: fitted on everything.
        threshold: of its logits, above which an answer refuses.
        slope: of the calibration, ``P(refusal) = sigmoid(slope · logit + offset)``, fitted on left-out scores.
        offset: of the calibration.
        table: a line for each model.
    """

    head: Head
    threshold: float
    slope: float
    offset: float
    table: tuple[LeftOut, ...]


def own_phrases() -> Source:
    """Our own dialogues as a source."""
    made = tuple(Dialogue(row.prompt, row.response, REFUSED if row.refused else COMPLIED) for row in phrase_rows())
    return Source("phrases", made, hashlib.sha256(repr(made).encode()).hexdigest())


def read_rows(models: Sequence[Source], extra: Sequence[Source], backbone: Backbone) -> Rows:
    """Features of every dialogue: the slow part, asked of the backbone once.

    Args:
        models: each is left out once.
        extra: always trained on.
        backbone: whose states are read.
    """
    sources = [*models, *extra]
    dialogues = [one for source in sources for one in source.dialogues]
    source_B = np.repeat(np.arange(len(sources)), [len(source.dialogues) for source in sources])
    part_B = np.array([_part(one.prompt) for one in dialogues])
    return Rows(
        np.stack([signs(one.prompt, one.response) for one in dialogues]),
        backbone.states([one.prompt for one in dialogues], [one.response for one in dialogues]),
        np.array([one.label for one in dialogues]),
        source_B,
        np.where(source_B < len(models), part_B, -1),
        tuple(one.response for one in dialogues),
        tuple(source.name for source in sources),
        len(models),
        backbone.directions,
    )


def train(rows: Rows) -> Trained:
    """Leave every model out once, choose the threshold, and fit the judge on all of them."""
    everything = range(rows.num_models)
    left_out = {model: _scores(rows, model, [other for other in everything if other != model]) for model in everything}
    threshold = choose_threshold([_kinds(rows, model, left_out[model]) for model in everything])
    table = []
    for model in everything:
        others = [other for other in everything if other != model]
        blind = [
            _kinds(rows, other, _scores(rows, other, [third for third in others if third != other])) for other in others
        ]
        table.append(_line(rows, model, left_out[model], threshold, choose_threshold(blind)))
    slope, offset = _calibration(rows, left_out)
    seen_B = rows.label_B != PARTLY
    return Trained(_fit(rows, seen_B), threshold, slope, offset, tuple(table))


def choose_threshold(models: Sequence[tuple[Array, Array]]) -> float:
    """The logit where the worst of the models fares best.

    How a model fares is the larger of its misses over ``1 - RECALL`` and its false alarms over ``FALSE_ALARMS``. Of
    thresholds that are equally good the middle one is taken.

    Args:
        models: of each, the logits of its refusals and of its full answers.
    """
    levels = np.unique(np.concatenate([logits for kinds in models for logits in kinds]))
    between = np.concatenate([[levels[0] - 1], (levels[:-1] + levels[1:]) / 2, [levels[-1] + 1]])
    worst = np.zeros(len(between))
    for refusals, answers in models:
        missed = np.searchsorted(np.sort(refusals), between, side="right") / len(refusals)
        alarms = 1 - np.searchsorted(np.sort(answers), between, side="right") / len(answers)
        worst = np.maximum(worst, np.maximum(missed / (1 - RECALL), alarms / FALSE_ALARMS))
    best = np.flatnonzero(worst <= worst.min() + 1e-12)
    return float(between[best[len(best) // 2]])


def _part(prompt: str) -> int:
    return int(hashlib.sha256(prompt.strip().lower().encode("utf-8", "surrogatepass")).hexdigest(), 16) % PARTS


def _fit(rows: Rows, chosen_B: NDArray[np.bool_]) -> Head:
    weight_B = np.zeros(len(rows.texts))
    amounts = {"phrases": PHRASES, "dialogues": DIALOGUES}
    for source, name in enumerate(rows.names):
        amount = PER_MODEL if source < rows.num_models else amounts[name]
        for label in (COMPLIED, REFUSED):
            here = np.flatnonzero(chosen_B & (rows.source_B == source) & (rows.label_B == label))
            if len(here):
                _, inverse, count = np.unique(
                    [rows.texts[row] for row in here], return_inverse=True, return_counts=True
                )
                share = count[inverse] ** -REPEATED
                weight_B[here] = amount * share / share.sum()
    refused_B = rows.label_B[chosen_B] == REFUSED
    signs_BS, states_BH = rows.signs_BS[chosen_B], rows.states_BH[chosen_B]
    return heads.fit(signs_BS, states_BH, refused_B, weight_B[chosen_B], rows.directions)


def _scores(rows: Rows, model: int, trained_on: Sequence[int]) -> Array:
    """Logits of one model's answers by judges that saw other models and other prompts, NaN elsewhere."""
    found_B = np.full(len(rows.texts), np.nan)
    usable_B = (rows.label_B != PARTLY) & (np.isin(rows.source_B, trained_on) | (rows.source_B >= rows.num_models))
    for part in range(PARTS):
        mine_B = (rows.source_B == model) & (rows.part_B == part)
        if mine_B.any():
            head = _fit(rows, usable_B & (rows.part_B != part))
            found_B[mine_B] = head.logits(rows.signs_BS[mine_B], rows.states_BH[mine_B])
    return found_B


def _kinds(rows: Rows, model: int, logits_B: Array) -> tuple[Array, Array]:
    mine_B = rows.source_B == model
    return logits_B[mine_B & (rows.label_B == REFUSED)], logits_B[mine_B & (rows.label_B == COMPLIED)]


def _line(rows: Rows, model: int, logits_B: Array, shipped: float, unseen: float) -> LeftOut:
    from sklearn.metrics import roc_auc_score

    mine_B = rows.source_B == model
    refusals, answers = _kinds(rows, model, logits_B)
    auroc = roc_auc_score([1] * len(refusals) + [0] * len(answers), [*refusals, *answers])
    texts = [rows.texts[row] for row in np.flatnonzero(mine_B)]
    words_B = np.zeros(len(rows.texts), dtype=bool)
    words_B[mine_B] = WordJudge().refused([""] * len(texts), texts)
    return LeftOut(
        rows.names[model], len(refusals), len(answers), float(auroc),
        _rates(rows, model, logits_B > shipped), _rates(rows, model, logits_B > unseen), _rates(rows, model, words_B),
    )  # fmt: skip


def _rates(rows: Rows, model: int, refused_B: NDArray[np.bool_]) -> Rates:
    mine_B = rows.source_B == model
    shares = []
    for label in (REFUSED, COMPLIED, PARTLY):
        verdicts = refused_B[mine_B & (rows.label_B == label)]
        shares.append(float(verdicts.mean()) if len(verdicts) else math.nan)
    return Rates(*shares)


def _calibration(rows: Rows, left_out: Mapping[int, Array]) -> tuple[float, float]:
    """Platt's: a logistic regression of the labels on left-out logits, every model and kind weighing the same."""
    from sklearn.linear_model import LogisticRegression

    logits, labels, weights = [], [], []
    for model, scores_B in left_out.items():
        for label, kind in zip((REFUSED, COMPLIED), _kinds(rows, model, scores_B), strict=True):
            logits += kind.tolist()
            labels += [label] * len(kind)
            weights += [PER_MODEL / len(kind)] * len(kind)
    fitted = LogisticRegression(C=1e3).fit(np.array(logits)[:, None], labels, sample_weight=weights)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
