"""Certification prompts of the toy world: of held-out pairs, in seen framings, and nobody else's."""

import pytest

from csrlhf.data.encoding import prompt_text
from csrlhf.data.near_duplicates import normalise
from csrlhf.data.toy.source import ToyData
from csrlhf.data.toy.world import pairs_of
from csrlhf.errors import UserError


def test_they_are_new_different_and_drawn_like_the_others() -> None:
    data = ToyData()
    rows = data.certification_prompts(1500)
    texts = [normalise(prompt_text(row.prompt)) for row in rows]
    assert len(set(texts)) == 1500
    for split in ("train", "validation", "test"):
        assert not set(texts) & {normalise(prompt_text(row.prompt)) for row in data.prompts(split)}
    held_out = {(pair.verb.phrase, pair.object.word) for pair in pairs_of("test", "harmful")}
    harmful = [row for row in rows if row.meta["category"] == "harmful"]
    assert {(row.meta["verb"], row.meta["object"]) for row in harmful} <= held_out
    assert all(row.meta["framing_seen"] for row in rows)
    assert len(harmful) / 1500 == pytest.approx(0.45, abs=0.05)


def test_they_are_a_function_of_the_seed_and_leave_out_what_is_excluded() -> None:
    first, second = ToyData().certification_prompts(50), ToyData(seed=1).certification_prompts(50)
    assert first == ToyData().certification_prompts(50) != second
    known = {normalise(prompt_text(row.prompt)) for row in first[:10]}
    assert ToyData().certification_prompts(40, known) == first[10:]


def test_the_world_has_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csrlhf.data.toy.prompts.PATIENCE", 1)
    with pytest.raises(UserError, match=r"certify\.num_prompts=3000"):
        ToyData().certification_prompts(3000)
