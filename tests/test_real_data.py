"""MiniLM as a cost model on labelled dialogues that lie beside the checkout: 12 minutes on two cores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT.parent / "shared" / "data" / "cs_rlhf"


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason="the labelled dialogues are not there")
def test_minilm_learns_real_labels(tmp_path: Path) -> None:
    words = [
        "stage=cost",
        "data=jsonl",
        f"data.train={DATA / 'train.jsonl'}",
        f"data.validation={DATA / 'validation.jsonl'}",
        "model=minilm",
        f"artifacts={tmp_path}",
    ]
    subprocess.run([sys.executable, str(ROOT / "train.py"), *words], check=True)
    metrics = json.loads((tmp_path / "cost" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation/auroc"] > 0.85
    assert metrics["validation/auroc"] > metrics["baseline/validation/auroc"]
