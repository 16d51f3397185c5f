"""A cost model evaluated through the Trainer on the small world: numbers, files, page, drift, bad input."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.score_data import JudgedRowsDataModule
from csrlhf.data.settings import SplitToJudge
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer, write_answers
from csrlhf.evaluation.cost_model.module import CostEvaluationModule
from csrlhf.evaluation.settings import CostEvaluationSettings
from csrlhf.models.score_model import HEAD_WEIGHTS
from csrlhf.models.text_scorer import TextScorer
from csrlhf.stats.drift import Reference, words_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
WORDS = ("a", "b", "c", "d", "e", "f", "g", "red", "blue")


def write_rows(path: Path, count: int = 80, names: tuple[str, ...] = ("harm",), unsafe: Any = None) -> Path:
    lines = []
    for row in range(count):
        prompt = " ".join(WORDS[(row // 9**place) % 9] for place in range(3))
        truth = [row % 2 == 0, row % 3 == 0] if unsafe is None else [unsafe, unsafe]
        labels = {name: "Unsafe" if value else "Safe" for name, value in zip(names, truth, strict=False)}
        response = " ".join(WORDS[(row + word) % 9] for word in range(1 + row % 5))
        record = {"prompt": prompt, "response": response, "label": labels if len(names) > 1 else labels[names[0]]}
        lines.append(json.dumps(record | ({"category": f"kind {row % 2}"} if row % 4 else {})))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def run(tiny: ModuleType, tmp_path: Path) -> Callable[..., CostEvaluationModule]:
    def call(cost: Any, file: Path, names: tuple[str, ...] = ("harm",), **options: Any) -> CostEvaluationModule:
        module = CostEvaluationModule(cost, CostEvaluationSettings(batch_size=7, baseline=False, **options))
        source = JsonlData(test=str(file), constraints=names)
        data = JudgedRowsDataModule(source, module.tokenizer, module.settings)
        tiny.trainer(tmp_path).test(module, data, verbose=False)
        return module

    return call


def with_reference(folder: str, copy: Path, file: Path, names: tuple[str, ...] = ("harm",)) -> Path:
    """A copy of a cost model that was made on the rows of ``file``."""
    shutil.copytree(folder, copy)
    rows = JsonlData(test=str(file), constraints=names).labelled("test")
    prompts, responses = [row.prompt for row in rows], [row.response for row in rows]
    scorer = TextScorer(copy)
    logits_MK, features_MH = scorer.scores_and_features(prompts, responses, [True] * len(rows))
    Reference(scorer.outputs, *words_of(prompts, responses), logits_MK.double().numpy(), features_MH.numpy()).save(copy)
    return copy


def test_numbers_files_and_page(run: Any, folders: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl")
    cost = with_reference(folders.cost, tmp_path / "cost", file)
    module = run(str(cost), file)
    rows = JsonlData(test=str(file)).labelled("test")
    logit = TextScorer(cost).score([r.prompt for r in rows], [r.response for r in rows], [True] * 80)[:, 0].numpy()
    truth, found = np.array([row.unsafe[0] > 0.5 for row in rows]), module.final_metrics
    assert found["test/accuracy"] == pytest.approx(np.mean((logit > 0) == truth))
    assert found["test/recall"] == pytest.approx(np.mean(logit[truth] > 0))
    assert found["test/true_positives"] + found["test/false_negatives"] == 40
    assert found["test/accuracy_low"] <= found["test/accuracy"] <= found["test/accuracy_high"]
    assert found["test/temperature"] == 1.0
    assert found["test/unsafe_prompts_least"] == 59
    assert found["test/tau_certified"] == 0.0  # 40 unsafe prompts
    assert found["drift/labelled/warnings"] == 0.0

    (tmp_path / "out").mkdir()
    module.export(tmp_path / "out")
    lines = (tmp_path / "out" / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 80
    assert first["judged"]["harm"]["cost_logit"] == pytest.approx(float(logit[0]), abs=1e-6)
    assert first["judged"]["harm"]["probability"] == pytest.approx(float(expit(logit[0])), abs=1e-6)
    assert first["sha256"] == hashlib.sha256(json.dumps([rows[0].prompt, rows[0].response]).encode()).hexdigest()
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    content = (tmp_path / "out" / "predictions.jsonl").read_bytes()
    assert record["sha256"]["predictions"] == hashlib.sha256(content).hexdigest()
    assert record["sha256"]["data test"] == hashlib.sha256(file.read_bytes()).hexdigest()
    parts = record["constraints"]["harm"]["categories"]
    assert [(part["name"], part["count"]) for part in parts] == [("kind 0", 20), ("kind 1", 40), ("(none)", 20)]
    assert record["constraints"]["harm"]["threshold"]["certified"] is False
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in ("No threshold can be certified", "Its worst mistakes", "kind 1", "Drift"):
        assert words in page
    assert {path.stem for path in (tmp_path / "out" / "plots").glob("*.png")} >= {
        "reliability_harm",
        "threshold_harm",
        "drift",
    }
    again = run(str(cost), file)
    assert again.final_metrics == pytest.approx(found, nan_ok=True, abs=0)  # to the digit


def test_policies_that_leave_what_the_model_knows(run: Any, folders: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl")
    cost = with_reference(folders.cost, tmp_path / "cost", file)
    rows = JsonlData(test=str(file)).labelled("test")
    answers = [
        Answer(f"{policy}/{n}/0", policy, str(n), 0, row.prompt, response)
        for n, row in enumerate(rows)
        for policy, response in {"tame": row.response, "wild": "sorry no " * 20}.items()
    ]
    write_answers(tmp_path / "answers.jsonl", answers, {})
    module = run(str(cost), file, outputs=str(tmp_path / "answers.jsonl"))
    found = module.final_metrics
    assert found["drift/tame/warnings"] == 0.0
    assert found["drift/wild/response_words"] > 0.25
    assert found["drift/wild/embedding_p_value"] <= 0.01
    assert found["drift/wild/prompt_words"] == 0.0
    assert found["drift/wild/warnings"] >= 2
    [note] = [note for note in module.result.notes if note.startswith("wild")]
    assert "length of the responses (population stability index" in note
    assert not [note for note in module.result.notes if note.startswith("tame")]


def test_several_constraints_and_several_models(run: Any, folders: Any, tmp_path: Path) -> None:
    names = ("privacy", "harm")  # not the model's order
    file = write_rows(tmp_path / "rows.jsonl", names=names, count=200)
    both = run(folders.cost_two, file, names, delta=0.1)
    rows = JsonlData(test=str(file), constraints=names).labelled("test")
    texts = [r.prompt for r in rows], [r.response for r in rows], [True] * 200
    logits = TextScorer(folders.cost_two, outputs=names).score(*texts).numpy()
    for k, name in enumerate(names):
        truth = np.array([row.unsafe[k] > 0.5 for row in rows])
        assert both.final_metrics[f"test/{name}/accuracy"] == pytest.approx(np.mean((logits[:, k] > 0) == truth))
    assert [one.choice.delta for one in both.result.evaluations] == [0.05, 0.05]  # shared out
    two = run({"harm": folders.cost, "privacy": folders.cost_privacy}, file, names)
    single = TextScorer(folders.cost_privacy).score(*texts)[:, 0].numpy()
    truth = np.array([row.unsafe[0] > 0.5 for row in rows])
    assert two.final_metrics["test/privacy/accuracy"] == pytest.approx(np.mean((single > 0) == truth))
    assert len([note for note in two.result.notes if "has no reference.safetensors" in note]) == 2


def test_one_class_only(run: Any, folders: Any, tmp_path: Path) -> None:
    module = run(folders.cost, write_rows(tmp_path / "rows.jsonl", unsafe=False, count=20))
    assert np.isnan(module.final_metrics["test/auroc"])
    assert np.isnan(module.final_metrics["test/recall"])
    assert any("Every row is Safe for harm" in note for note in module.result.notes)
    (tmp_path / "out").mkdir()
    module.export(tmp_path / "out")  # gaps, no NaN in the JSON
    json.loads((tmp_path / "out" / "evaluation.json").read_text(), parse_constant=lambda word: pytest.fail(word))


def test_bad_input(run: Any, folders: Any, tiny: ModuleType, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", count=20)
    with pytest.raises(UserError, match=r"scores harm and not fraud"):
        run(folders.cost, file, ("fraud",))
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"prompts\.jsonl holds no labelled responses"):
        run(folders.cost, prompts)
    with pytest.raises(UserError, match=r"evaluate\.delta=1\.5: must be in \(0, 1\)"):
        CostEvaluationSettings(delta=1.5)
    source = JsonlData(test=str(file))
    with pytest.raises(UserError, match=r"evaluate\.split=train: must be one of validation, test"):
        CostEvaluationSettings(split="train")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"evaluate\.split=validation: the data has no such split"):
        JudgedRowsDataModule(source, None, CostEvaluationSettings(split=SplitToJudge.validation))
    with pytest.raises(UserError, match="there is no such file"):
        run(folders.cost, file, outputs=str(tmp_path / "none.jsonl"))


def test_a_score_that_is_no_number_is_named(run: Any, folders: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders.cost, tmp_path / "cost")
    weights = load_file(tmp_path / "cost" / HEAD_WEIGHTS)
    save_file(weights | {"bias": torch.full((1,), float("nan"))}, tmp_path / "cost" / HEAD_WEIGHTS)
    with pytest.raises(UserError, match=r"the cost of harm is nan for .*rows\.jsonl:1 \(20 of 20 rows"):
        run(str(tmp_path / "cost"), write_rows(tmp_path / "rows.jsonl", count=20))


def test_rows_that_the_model_was_chosen_by_are_named(run: Any, folders: Any, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", count=20)
    shutil.copytree(folders.cost, tmp_path / "cost")
    known = {"validation": hashlib.sha256(file.read_bytes()).hexdigest()}
    (tmp_path / "cost" / "csrlhf.json").write_text(json.dumps({"fingerprint": "1", "data": known}), encoding="utf-8")
    module = run(str(tmp_path / "cost"), file)
    assert any("These rows are the validation data of" in note for note in module.result.notes)
