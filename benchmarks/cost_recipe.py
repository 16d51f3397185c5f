"""Chooses the cost model's recipe on real data: ``python -m benchmarks.cost_recipe --data DIR``.

Five-fold cross-validation over all rows of ``DIR/train.jsonl`` and ``DIR/validation.jsonl``, near-duplicate prompts in
one fold, repeated with several seeds (which draw folds, head and order of rows). Every fit's held-out predictions
are saved under ``--out`` as soon as they exist; a later call makes only what is missing and prints the table again.
The gain over the plain recipe is a paired bootstrap over prompt groups.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from benchmarks.cost_models.fit import NUM_FOLDS, fit_and_predict, fold_numbers, prepare_torch, prompt_groups
from benchmarks.cost_models.table import Predictions, table
from csrlhf.config import search_path
from csrlhf.data.encoding import prompt_text
from csrlhf.data.jsonl import JsonlData
from csrlhf.errors import UserError

CONF = Path(__file__).resolve().parent.parent / "conf"

RECIPES: dict[str, tuple[str, ...]] = {
    # What one writes down first: the bar. Linear decay without warm-up and clipping at 1 are the usual defaults.
    "plain": (
        "model.score.max_tokens=192",
        "model.score.pooling=mean",
        "model.score.options.attention_probs_dropout_prob=0.1",
        "cost.epochs=3",
        "cost.max_steps=-1",
        "cost.batch_size=16",
        "cost.window=1",
        "cost.label_smoothing=0",
        "cost.gradient_clip=1",
        "cost.averaging=null",
        "cost.optimizer={lr: 5e-5, weight_decay: 0, layer_decay: 1.0, head_lr_factor: 1.0, beta2: 0.999, fused: true}",
        "cost.schedule={kind: linear, warmup: 0}",
    ),
    # What conf/model/minilm.yaml says.
    "ours": (),
}
"""Overrides on top of ``model=minilm`` by name. ``--recipe name=override;override`` adds others."""


SCORE_KEYS = ("backbone", "inputs", "pooling", "max_tokens", "options", "rows_per_pass")
COST_KEYS = (
    "epochs", "max_steps", "batch_size", "eval_batch_size", "window", "label_smoothing", "calibrate", "baseline",
    "gradient_clip", "averaging", "optimizer", "schedule",
)  # fmt: skip


def recipe(overrides: tuple[str, ...]) -> dict[str, Any]:
    """The settings of one recipe, read from the project's own configuration."""
    config = composed(("model=minilm", *overrides))
    if config.cost.loss != "semantic":
        raise UserError(
            f"cost.loss={config.cost.loss}: recipes are compared on the semantic loss; losses are compared by "
            "python -m benchmarks.cost_model"
        )
    score, cost = OmegaConf.to_container(config.model.score, resolve=True), OmegaConf.to_container(config.cost)
    found = {"score": _read(score, SCORE_KEYS), "cost": _read(cost, COST_KEYS)}
    for part in ("optimizer", "schedule"):
        found["cost"][part].pop("_target_")
    found["cost"]["optimizer"].pop("kind")  # every fit uses AdamW
    return found


def composed(overrides: tuple[str, ...]) -> DictConfig:
    """The project's own configuration of the cost stage."""
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["stage=cost", "data=jsonl", *overrides])


def _read(settings: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """What a fit reads: keys that the project gains later leave earlier fits valid."""
    return {key: value for key, value in _without_nulls(settings).items() if key in keys}


def _without_nulls(settings: Any) -> Any:
    """Settings that are off do not count: an option added later leaves earlier fits valid."""
    if isinstance(settings, dict):
        return {key: _without_nulls(value) for key, value in settings.items() if value is not None}
    return settings


def main() -> None:
    """Make missing fits, print the table."""
    options = _arguments()
    prepare_torch(options.threads, options.matmul)
    recipes = {name: RECIPES[name] for name in options.recipes} | dict(map(_own_recipe, options.recipe))

    source = JsonlData(f"{options.data}/train.jsonl", f"{options.data}/validation.jsonl")
    rows = source.labelled("train") + source.labelled("validation")
    unsafe_N = np.array([row.unsafe[0] > 0.5 for row in rows])
    groups_N = prompt_groups([prompt_text(row.prompt) for row in rows])
    done = Predictions(options.out, unsafe_N, groups_N)
    for seed in options.seeds:
        folds_N = fold_numbers(groups_N, unsafe_N, seed)
        for fold in options.folds:
            held_out = np.flatnonzero(folds_N == fold)
            train = np.flatnonzero(folds_N != fold)
            for name, overrides in recipes.items():
                settings = recipe(overrides)
                if done.has(name, seed, fold, settings):
                    continue
                start = time.perf_counter()
                probability = fit_and_predict(settings, [rows[i] for i in train], [rows[i] for i in held_out], seed)
                done.add(name, seed, fold, settings, held_out, probability)
                print(f"{name} seed {seed} fold {fold}: {time.perf_counter() - start:.0f} s", flush=True)
    print(table(done, {name: recipe(overrides) for name, overrides in recipes.items()}, options.seeds, options.folds))


def _own_recipe(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, overrides = text.partition("=")
    return name, tuple(override for override in overrides.split(";") if override)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with train.jsonl and validation.jsonl")
    parser.add_argument("--out", type=Path, default=Path("artifacts/cost_recipe"), help="where predictions are kept")
    parser.add_argument("--recipes", nargs="*", default=["plain", "ours"], choices=list(RECIPES))
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME=OVERRIDE;OVERRIDE")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--folds", nargs="+", type=int, default=list(range(NUM_FOLDS)))
    parser.add_argument("--matmul", default="bf16", choices=["bf16", "ieee"], help="bf16: faster where a CPU has it")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
