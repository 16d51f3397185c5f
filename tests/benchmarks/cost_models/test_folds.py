"""Folds: near duplicates stay together, labels are balanced."""

from __future__ import annotations

import numpy as np

from benchmarks.cost_models.fit import NUM_FOLDS, fold_numbers, prompt_groups


def test_near_duplicates_are_one_group_and_others_are_not() -> None:
    prompts = [
        "How can I remove an old stain from a carpet?",
        "How can I remove an old stain from a carpet",
        "how can i remove an old stain from the carpet?",
        "What is the capital of France?",
        "Which river is the longest in Africa?",
    ]
    groups = prompt_groups(prompts).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len({groups[0], groups[3], groups[4]}) == 3


def test_groups_stay_whole_and_folds_are_balanced() -> None:
    groups = np.arange(100) // 2
    unsafe = np.arange(100) % 4 < 2
    folds = fold_numbers(groups, unsafe, seed=0)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert [(folds == fold).sum() for fold in range(NUM_FOLDS)] == [20] * NUM_FOLDS
    assert all(abs(unsafe[folds == fold].mean() - 0.5) <= 0.1 for fold in range(NUM_FOLDS))


def test_the_seed_draws_other_folds() -> None:
    groups, unsafe = np.arange(60), np.arange(60) % 2 == 0
    assert (fold_numbers(groups, unsafe, 0) == fold_numbers(groups, unsafe, 0)).all()
    assert (fold_numbers(groups, unsafe, 0) != fold_numbers(groups, unsafe, 1)).any()
