"""The recipes of the benchmark: the bar does not move when ours does, and a fit is the project's own."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cost_models.fit import fit_and_predict
from benchmarks.cost_recipe import COST_KEYS, RECIPES, recipe
from csrlhf.errors import UserError
from csrlhf.types import LabelledRow


def test_the_plain_recipe_is_what_it_is_called() -> None:
    plain = recipe(RECIPES["plain"])
    assert plain["score"]["max_tokens"] == 192
    assert plain["score"]["pooling"] == "mean"
    assert plain["score"]["options"]["attention_probs_dropout_prob"] == 0.1
    assert {key: plain["cost"][key] for key in ("epochs", "batch_size", "window", "label_smoothing")} == {
        "epochs": 3, "batch_size": 16, "window": 1, "label_smoothing": 0,
    }  # fmt: skip
    assert plain["cost"]["optimizer"] == {
        "lr": 5e-5, "weight_decay": 0, "layer_decay": 1.0, "head_lr_factor": 1.0, "beta2": 0.999, "fused": True,
    }  # fmt: skip
    assert plain["cost"]["schedule"] == {"kind": "linear", "warmup": 0}
    assert "averaging" not in plain["cost"]


def test_ours_is_the_projects_configuration() -> None:
    ours = recipe(RECIPES["ours"])
    assert ours["score"]["backbone"].startswith("package:")
    assert ours["cost"]["averaging"]["_target_"].endswith("MovingAverage")
    assert recipe(("cost.epochs=9",))["cost"]["epochs"] == 9


@pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on loaders of tiny data
def test_a_fit_learns_and_judges_in_the_given_order(toy_backbone: str) -> None:
    rows = [
        LabelledRow(f"how do i {verb} it ?", "no ." if verb == "bake" else "yes .", (float(verb != "bake"),))
        for verb in ("bake", "steal") * 16
    ]
    settings = recipe(("cost.epochs=6", "cost.batch_size=8", "cost.optimizer.lr=1e-2", "model.score.pooling=last"))
    settings["score"] |= {"backbone": toy_backbone, "options": {}}
    probability = fit_and_predict(settings, rows, rows[:6], seed=0)
    assert (probability > 0.5).tolist() == [False, True] * 3
    assert np.array_equal(probability, fit_and_predict(settings, rows, rows[:6], seed=0))


def test_recipes_are_of_the_semantic_loss() -> None:
    with pytest.raises(UserError, match=r"cost\.loss=pairwise: recipes are compared on the semantic loss"):
        recipe(("cost.loss=pairwise",))


def test_a_setting_that_no_fit_reads_is_left_out() -> None:
    assert "loss" not in recipe(())["cost"]
    assert set(recipe(RECIPES["plain"])["cost"]) <= set(COST_KEYS)
