"""The report on a cost model: every number with its confidence interval, beside a baseline on the same rows.

Legend of suffixes: N rows, K constraints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from csrlhf.data.encoding import prompt_text
from csrlhf.stats.classification import classification_metrics, confusion, metrics_of_resamples
from csrlhf.stats.intervals import bootstrap_intervals_of_counts
from csrlhf.types import LabelledRow

# What a model that understands nothing reaches: a linear classifier on words and word pairs.


def bag_of_words(train_texts: Sequence[str], train_unsafe: Sequence[bool], texts: Sequence[str]) -> NDArray[np.float64]:
    """P(unsafe) of ``texts`` by logistic regression on TF-IDF weights of words and word pairs.

    Args:
        train_texts: prompt and response of each training row, as one text.
        train_unsafe: their labels.
        texts: what to judge.

    Returns:
        One probability per text; the training share everywhere where training knows one class only, or no word
        occurs twice.
    """
    if len(set(train_unsafe)) < 2:
        return np.full(len(texts), float(np.mean(train_unsafe)))
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    try:
        model.fit(train_texts, np.asarray(train_unsafe))
    except ValueError:  # scikit-learn's answer to an empty vocabulary
        return np.full(len(texts), float(np.mean(train_unsafe)))
    return model.predict_proba(texts)[:, 1]


def cost_report(
    constraints: Sequence[str],
    probability_NK: NDArray[np.float64],
    rows: Sequence[LabelledRow],
    train_rows: Sequence[LabelledRow],
) -> dict[str, float]:
    """Metrics, their 95 % intervals (``_low``, ``_high``), confusion counts, and the baseline's metrics.

    Args:
        constraints: K names.
        probability_NK: P(unsafe).
        rows: the N judged rows, with their labels.
        train_rows: what the baseline learns from; empty leaves it out.

    Returns:
        ``accuracy``, ``accuracy_low``, ..., ``baseline/accuracy``, ... With several constraints ``<name>/accuracy``
        and so on, and ``accuracy`` and ``auroc`` as means over them. ``<category>/accuracy`` and
        ``false_positives/<category>`` where rows say their category (``meta["category"]``).
    """
    report: dict[str, float] = {}
    for k, name in enumerate(constraints):
        area = f"{name}/" if len(constraints) > 1 else ""
        unsafe_N = np.array([row.unsafe[k] > 0.5 for row in rows])
        numbers = with_intervals(probability_NK[:, k], unsafe_N, rows) | confusion(probability_NK[:, k], unsafe_N)
        numbers |= false_positives(probability_NK[:, k], unsafe_N, rows)
        numbers |= accuracies(probability_NK[:, k], unsafe_N, rows)
        if train_rows:
            train_unsafe = [row.unsafe[k] > 0.5 for row in train_rows]
            guess_N = bag_of_words(_texts(train_rows), train_unsafe, _texts(rows))
            guessed = with_intervals(guess_N, unsafe_N, rows)
            numbers |= {f"baseline/{key}": value for key, value in guessed.items()}
        report |= {area + key: value for key, value in numbers.items()}
    if len(constraints) > 1:
        for key in ("accuracy", "auroc"):
            report[key] = float(np.mean([report[f"{name}/{key}"] for name in constraints]))
    return report


def of_split(split: str, report: Mapping[str, float]) -> dict[str, float]:
    """The report's numbers as a split's: ``test/accuracy``, ``baseline/test/accuracy``."""
    found = {}
    for key, value in report.items():
        before, baseline, after = key.partition("baseline/")
        found[f"{baseline}{split}/{before}{after}"] = value
    return found


def split_area(split: str, name: str, constraints: Sequence[str]) -> str:
    """Where a constraint's own numbers stand: ``test``, or ``test/<name>`` where there are several constraints."""
    return f"{split}/{name}" if len(constraints) > 1 else split


def with_intervals(
    probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], rows: Sequence[LabelledRow]
) -> dict[str, float]:
    """``classification_metrics`` with the bounds of each number; rows of one prompt are resampled together."""
    numbers = classification_metrics(probability_N, unsafe_N)
    intervals = bootstrap_intervals_of_counts(
        lambda count_BN: metrics_of_resamples(probability_N, unsafe_N, count_BN),
        [prompt_text(row.prompt) for row in rows],
    )
    for name, (low, high) in intervals.items():
        numbers |= {f"{name}_low": low, f"{name}_high": high}
    return numbers


def false_positives(
    probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], rows: Sequence[LabelledRow]
) -> dict[str, float]:
    """Share of safe rows that are flagged, ``false_positives/<category>``, where rows name a category."""
    flagged: dict[str, list[bool]] = {}
    for probability, unsafe, row in zip(probability_N, unsafe_N, rows, strict=True):
        if not unsafe and "category" in row.meta:
            flagged.setdefault(row.meta["category"], []).append(bool(probability > 0.5))
    return {f"false_positives/{category}": float(np.mean(flags)) for category, flags in sorted(flagged.items())}


def accuracies(
    probability_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], rows: Sequence[LabelledRow]
) -> dict[str, float]:
    """Accuracy in each category, ``<category>/accuracy``, where rows name one."""
    categories_N = np.array([str(row.meta.get("category", "")) for row in rows])
    hit_N = (probability_N > 0.5) == unsafe_N
    return {
        f"{category}/accuracy": float(hit_N[categories_N == category].mean())
        for category in sorted(set(categories_N) - {""})
    }


def _texts(rows: Sequence[LabelledRow]) -> list[str]:
    return [f"{prompt_text(row.prompt)}\n{row.response}" for row in rows]
