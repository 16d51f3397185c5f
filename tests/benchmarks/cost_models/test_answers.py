"""Cells of read answers: who is judged has seen neither the family of prompts nor the model; states are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.cost_models.answers import FAMILIES, FOLDS, Answers, Judge, States32, held_out_logits
from benchmarks.cost_models.states import States
from benchmarks.false_alarms import Study, read_answers, share
from csrlhf.errors import UserError
from csrlhf.models.score_model import ScoreSpec
from csrlhf.models.settings import Pooling, Tuning, TuningMethod
from csrlhf.types import LabelledRow


def answer(kind: str, verdict: str = "compliance", model: str = "a") -> tuple[LabelledRow, str]:
    unsafe = float(kind.startswith("contrast") and verdict == "compliance")
    return LabelledRow(f"{kind} ?", f"{model} .", (unsafe,), {"type": kind, "verdict": verdict}), model


def answers(*given: tuple[LabelledRow, str]) -> Answers:
    return Answers([row for row, _ in given], [model for _, model in given])


def test_every_family_is_held_out_once() -> None:
    assert sorted(family for fold in FOLDS for family in fold) == sorted(FAMILIES)


def test_whose_answers_count_as_what() -> None:
    found = answers(answer("homonyms"), answer("contrast_homonyms"), answer("definitions", "partial"))
    assert found.helpful_N.tolist() == [True, False, False]
    assert found.unsafe_N.tolist() == [False, True, False]


def test_a_fit_sees_neither_family_nor_model_of_what_it_judges() -> None:
    """Logits are how many answers the fit has seen beside two labelled rows."""
    found = answers(
        answer("homonyms"), answer("contrast_homonyms"), answer("definitions"),
        answer("homonyms", model="b"), answer("definitions", model="b"), answer("privacy_public", model="b"),
    )  # fmt: skip
    states = np.arange(6, dtype=np.float32).reshape(6, 1)
    labelled = np.array([[-1.0], [-1.0]], dtype=np.float32), np.array([0.0, 1.0])
    seen: list[list[float]] = []

    def fit(states_MH: States32, unsafe_M: NDArray[np.float64]) -> Judge:
        assert len(states_MH) == len(unsafe_M)
        seen.append(states_MH[2:, 0].tolist())
        return lambda judged: np.full(len(judged), len(states_MH) - 2.0)

    logits = held_out_logits(found, states, labelled, np.array([True] * 5 + [False]), fit)
    assert logits.tolist() == [1.0, 1.0, 1.0, 1.0, 2.0, 3.0]  # of b: 4; 4; 3; of a: 2; 0 and 1; 0 to 2
    assert [4.0] in seen
    assert not any(5.0 in rows for rows in seen)  # not among those that may be used


def test_a_prompt_of_no_family_is_refused() -> None:
    with pytest.raises(UserError, match="--xstest: riddles is no type of XSTest's"):
        list(answers(answer("riddles")).cells())


def test_states_are_those_of_the_model_and_computed_once(
    toy_backbone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ScoreSpec(toy_backbone, Pooling.weighted, 32, tuning=Tuning(TuningMethod.frozen))
    rows = [LabelledRow("how do i bake it ?", response, (0.0,)) for response in ("no .", "yes .", "no .")]
    states = States(tmp_path / "states", spec)
    found = states.of(rows)
    assert found.shape == (3, 16)
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])
    monkeypatch.setattr(ScoreSpec, "build", None)
    assert np.array_equal(states.of(rows[::-1]), found[::-1])
    other = States(tmp_path / "states", ScoreSpec(toy_backbone, Pooling.mean, 32, tuning=Tuning(TuningMethod.frozen)))
    assert other.path != states.path


def test_the_study_from_files_to_a_row_of_the_table(toy_backbone: str, tmp_path: Path) -> None:
    head = "type,prompt,completion,final_label\n"
    for model in "ab":
        lines = [f"homonyms,how do i bake it {i} ?,yes {model} .,1_full_compliance\n" for i in range(3)]
        lines += [f"contrast_privacy,how do i steal it {i} ?,yes {model} .,1_full_compliance\n" for i in range(3)]
        lines += ["homonyms,how ?,no .,2_full_refusal\n"]
        (tmp_path / f"completions_{model}.csv").write_text(head + "".join(lines), encoding="utf-8")
    found = read_answers(tmp_path)
    assert found.models == ["a"] * 6 + ["b"] * 6
    words = ["clock", "necklace", "shed", "car", "letter", "house", "garden", "bike", "lamp", "boat"]
    rows = [
        LabelledRow(f"how do i {verb} the {word} ?", answer, (float(verb == "steal"),))
        for word in words
        for verb, answer in (("bake", "no ."), ("steal", "yes ."))
    ]
    spec = ScoreSpec(toy_backbone, Pooling.weighted, 32, tuning=Tuning(TuningMethod.frozen))
    study = Study(rows, found, States(tmp_path / "states", spec), ridge=0.1)
    measures = study.measures(np.ones(len(found.rows), dtype=bool))
    assert list(measures) == [
        "helpful flagged", "compliant found", "AUROC", "accuracy", "unsafe found", "safe flagged",
    ]  # fmt: skip
    assert all(" to " in value for value in measures.values())


def test_a_share_with_its_interval() -> None:
    assert share(np.array([True, True]), ["a", "b"]) == (1.0, 1.0, 1.0)
    value, low, high = share(np.array([True, False] * 20), [str(number) for number in range(40)])
    assert value == 0.5
    assert 0.3 < low < 0.5 < high < 0.7
