"""The description of a score model: what is checked when it is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import PreTrainedModel

from csrlhf.errors import UserError
from csrlhf.models.score_spec import ScoreSpec

Trunk = Callable[[str], PreTrainedModel]


def saved(trunk: PreTrainedModel, folder: Path) -> str:
    trunk.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_as_many_tokens_as_positions_and_no_more(tiny_trunk: Trunk, tmp_path: Path, kind: str) -> None:
    trunk = tiny_trunk(kind)
    folder, limit = saved(trunk, tmp_path), trunk.config.max_position_embeddings
    assert ScoreSpec(folder, "mean", limit).build(["harm"]).max_tokens == limit
    with pytest.raises(UserError, match=rf"^model\.score\.max_tokens={limit + 1}: .* takes at most {limit} tokens"):
        ScoreSpec(folder, "mean", limit + 1).build(["harm"])


@pytest.mark.parametrize("entry", [{}, {"max_position_embeddings": -1}])
def test_a_backbone_that_states_no_limit_has_none(
    tiny_trunk: Trunk, monkeypatch: pytest.MonkeyPatch, entry: dict[str, int]
) -> None:
    trunk = tiny_trunk("llama")
    monkeypatch.setattr(trunk, "config", SimpleNamespace(hidden_size=16, **entry))
    monkeypatch.setattr("csrlhf.models.score_spec.load_trunk", lambda *_: trunk)
    assert ScoreSpec("any", "last", 100_000).build(["harm"]).max_tokens == 100_000
