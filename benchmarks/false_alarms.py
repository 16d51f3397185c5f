"""Does the cost model flag helpful answers to harmless prompts? ``python -m benchmarks.false_alarms``.

Cost models on frozen states (``model=smollm2_frozen``), trained on labelled rows alone or on XSTest's read answers as
well. Judged on labelled rows held out by prompt, and on answers of a model and to families of prompts that the fit has
not seen. States are computed once and kept under ``--out``; the fits take seconds. Measures and results:
docs/explanation/cost_recipe.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from numpy.typing import NDArray

from benchmarks.cost_models.answers import Answers, Judge, States32, held_out_logits
from benchmarks.cost_models.fit import NUM_FOLDS, fold_numbers, prepare_torch, prompt_groups
from benchmarks.cost_models.states import States
from benchmarks.cost_recipe import composed
from csrlhf.data.encoding import prompt_text
from csrlhf.data.jsonl import JsonlData
from csrlhf.data.public.xstest import XsTest
from csrlhf.errors import UserError
from csrlhf.ops.logistic import fit_logistic
from csrlhf.stats.classification import auroc
from csrlhf.stats.intervals import bootstrap_intervals
from csrlhf.types import LabelledRow

ROOT = Path(__file__).resolve().parent.parent
SEEDS = (0, 1, 2)


class Study:
    """Rows, answers and their states.

    Args:
        rows: labelled rows.
        answers: read answers.
        states: gives states of dialogues.
        ridge: of the heads.
    """

    def __init__(self, rows: list[LabelledRow], answers: Answers, states: States, ridge: float) -> None:
        self.rows, self.answers, self.ridge = rows, answers, ridge
        self.unsafe_M = np.array([row.unsafe[0] > 0.5 for row in rows])
        self.groups_M = prompt_groups([prompt_text(row.prompt) for row in rows])
        self.states_MH, self.states_NH = states.of(rows), states.of(answers.rows)

    def fit(self, states_MH: States32, unsafe_M: NDArray[np.float64]) -> Judge:
        """A cost model of the project's own kind: its logits."""
        weight_KH, bias_K = fit_logistic(
            torch.from_numpy(states_MH), torch.from_numpy(unsafe_M).unsqueeze(1), self.ridge
        )
        return lambda states_NH: (states_NH.astype(np.float64) @ weight_KH.numpy().T + bias_K.numpy())[:, 0]

    def measures(self, used_N: NDArray[np.bool_]) -> dict[str, str]:
        """The row of a table, in percent with 95 % intervals over prompts, for fits that may see some answers."""
        judged = self._answers(used_N) | self._labelled(used_N)
        return {
            name: f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
            for name, (value, low, high) in judged.items()
        }

    def _answers(self, used_N: NDArray[np.bool_]) -> dict[str, tuple[float, float, float]]:
        everything = (self.states_MH, self.unsafe_M.astype(np.float64))
        logits_N = held_out_logits(self.answers, self.states_NH, everything, used_N, self.fit)
        prompts_N = np.array([prompt_text(row.prompt) for row in self.answers.rows])
        chosen = {"helpful flagged": self.answers.helpful_N, "compliant found": self.answers.unsafe_N}
        return {name: share(logits_N[of_N] > 0, prompts_N[of_N].tolist()) for name, of_N in chosen.items()}

    def _labelled(self, used_N: NDArray[np.bool_]) -> dict[str, tuple[float, float, float]]:
        """Five folds by prompt and three seeds; AUROC within a fit, then averaged."""
        states_NH, unsafe_N = self.states_NH[used_N], self.answers.unsafe_N[used_N]
        fits = []
        for seed in SEEDS:
            folds_M = fold_numbers(self.groups_M, self.unsafe_M, seed)
            for fold in range(NUM_FOLDS):
                train_M = folds_M != fold
                judge = self.fit(
                    np.concatenate([self.states_MH[train_M], states_NH]),
                    np.concatenate([self.unsafe_M[train_M], unsafe_N]).astype(np.float64),
                )
                fits.append((np.flatnonzero(~train_M), judge(self.states_MH[~train_M])))

        def statistic(index: NDArray[np.int64]) -> dict[str, float]:
            count_M = np.bincount(index, minlength=len(self.rows))
            drawn = [(np.repeat(rows, count_M[rows]), np.repeat(logits, count_M[rows])) for rows, logits in fits]
            judged = [(logits, self.unsafe_M[rows]) for rows, logits in drawn]
            return {
                "AUROC": float(np.mean([auroc(logits, unsafe) for logits, unsafe in judged])),
                "accuracy": float(np.mean([((logits > 0) == unsafe).mean() for logits, unsafe in judged])),
                "unsafe found": float(np.mean([(logits[unsafe] > 0).mean() for logits, unsafe in judged])),
                "safe flagged": float(np.mean([(logits[~unsafe] > 0).mean() for logits, unsafe in judged])),
            }

        values = statistic(np.arange(len(self.rows)))
        intervals = bootstrap_intervals(statistic, self.groups_M.tolist())
        return {name: (value, *intervals[name]) for name, value in values.items()}


def share(hit_N: NDArray[np.bool_], prompts: list[str]) -> tuple[float, float, float]:
    """A share with its interval; answers to one prompt are resampled together."""
    low, high = bootstrap_intervals(lambda index: {"share": float(hit_N[index].mean())}, prompts)["share"]
    return float(hit_N.mean()), low, high


def read_answers(folder: Path) -> Answers:
    """The files of answers in a folder, without full refusals, each named by its model."""
    files = sorted(folder.glob("completions_*.csv"))
    if not files:
        raise UserError(f"--xstest {folder}: holds no completions_<model>.csv; name the folder with XSTest's answers")
    rows, models = [], []
    for file in files:
        found = XsTest(train=str(file), refusals=False).labelled("train")
        rows += found
        models += [file.stem.removeprefix("completions_")] * len(found)
    return Answers(rows, models)


def main() -> None:
    """Compute what is missing, print the table."""
    options = _arguments()
    prepare_torch(options.threads, "ieee")
    try:
        config = composed(("model=smollm2_frozen", *options.overrides))
        source = JsonlData(str(options.data / "train.jsonl"), str(options.data / "validation.jsonl"))
        rows, answers = source.labelled("train") + source.labelled("validation"), read_answers(options.xstest)
        states = States(options.out, instantiate(config.model.score, _convert_="all"))
        study = Study(rows, answers, states, config.cost.ridge)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(
        f"{len(rows)} labelled rows; {answers.helpful_N.sum()} helpful and {answers.unsafe_N.sum()} compliant answers"
    )
    none_N = np.zeros(len(answers.rows), dtype=bool)
    table = {"labelled rows": study.measures(none_N), "and read answers": study.measures(~none_N)}
    names = list(table["labelled rows"])
    print("\n".join(["| trained on | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]))
    for arm, row in table.items():
        print(f"| {arm} | " + " | ".join(row[name] for name in names) + " |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=ROOT.parent / "shared/data/cs_rlhf", help="train, validation.jsonl"
    )
    parser.add_argument("--xstest", type=Path, default=ROOT.parent / "shared/data/xstest", help="completions_*.csv")
    parser.add_argument("--out", type=Path, default=ROOT / "artifacts/false_alarms", help="where states are kept")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("overrides", nargs="*", help="of the configuration, such as cost.ridge=0.3")
    return parser.parse_args()


if __name__ == "__main__":
    main()
