"""Stored predictions and the table of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.cost_models.table import Predictions, table

UNSAFE = np.arange(40) % 2 == 0
GROUPS = np.arange(40)


def filled(folder: Path) -> Predictions:
    """Two folds of one seed: ``plain`` ranks at random, ``better`` knows the truth."""
    done = Predictions(folder, UNSAFE, GROUPS)
    rng = np.random.default_rng(0)
    for fold in range(2):
        rows = np.arange(fold, 40, 2) if fold else np.arange(0, 40)
        done.add("plain", 0, fold, {"lr": 1}, rows, rng.random(len(rows)))
        done.add("better", 0, fold, {"lr": 2}, rows, np.where(UNSAFE[rows], 0.9, 0.1))
    return done


def test_a_fit_is_known_by_its_settings(tmp_path: Path) -> None:
    done = filled(tmp_path)
    assert done.has("plain", 0, 0, {"lr": 1})
    assert not done.has("plain", 0, 0, {"lr": 3})
    assert not done.has("plain", 1, 0, {"lr": 1})
    rows, probability = done.load("better", 0, 0, {"lr": 2})
    assert rows.tolist() == list(range(40))
    assert probability[0] == 0.9
    assert not list(tmp_path.glob("*.tmp.npz"))


def test_the_gain_is_over_the_first_recipe(tmp_path: Path) -> None:
    lines = table(filled(tmp_path), {"plain": {"lr": 1}, "better": {"lr": 2}}, [0], [0]).splitlines()
    plain, better = (line.split("|")[1:-1] for line in lines[2:])
    assert plain[0].strip() == "plain"
    assert plain[-1].strip() == "-"
    assert better[2].strip() == better[3].strip() == "1.0000"
    gain, low, high = (float(part) for part in better[-1].replace("(", " ").replace(")", " ").replace(",", " ").split())
    assert abs(gain - (1 - float(plain[3]))) < 1e-3
    assert 0 < low < gain < high
