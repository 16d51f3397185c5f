"""Batches with their share of each kind of prompts: how many of each, in which order, on which process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csrlhf.constraints.where import Columns
from csrlhf.data.strata import Strata
from csrlhf.errors import InputWarning, UserError
from csrlhf.types import PromptRow


def prompts(*sizes: int) -> list[PromptRow]:
    return [PromptRow(f"{kind} {n}", {"kind": str(kind)}) for kind, size in enumerate(sizes) for n in range(size)]


def strata(rows: list[PromptRow], per_batch: int, least: int = 0) -> Strata:
    kinds = sorted({row.meta["kind"] for row in rows})
    return Strata.of({kind: Columns({"kind": kind}) for kind in kinds[1:]}, rows, per_batch, least, seed=3)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    per_batch=st.integers(4, 30),
    iteration=st.integers(0, 50),
)
@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_every_batch_has_its_share_to_within_a_prompt_or_two(sizes: list[int], per_batch: int, iteration: int) -> None:
    rows = prompts(*sizes)
    found = strata(rows, per_batch)
    batch = found.batch(iteration)
    assert len(batch) == per_batch
    assert batch == strata(rows, per_batch).batch(iteration)  # whoever was asked before
    for kind, size in enumerate(sizes):
        count = sum(rows[row].meta["kind"] == str(kind) for row in batch)
        within = 2 if len(sizes) > 2 else 1  # a kind between others is rounded at both ends
        assert abs(count - per_batch * size / sum(sizes)) < within + 1e-6


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_every_prompt_comes_once_in_a_pass_whatever_its_kind() -> None:
    rows = prompts(12, 6, 2)
    found = strata(rows, 5)
    seen = Counter(row for iteration in range(8) for row in found.batch(iteration))  # two passes over 20 prompts
    assert set(seen.values()) == {2}
    assert len(seen) == 20
    assert found.batch(1) == found.batch(1) != found.batch(2)


@pytest.mark.parametrize("sizes", [(95, 5), (60, 39, 1), (50, 48, 1, 1), (20, 1, 15, 36, 42)])
def test_rare_kinds_are_raised_to_the_least_number(sizes: tuple[int, ...]) -> None:
    rows = prompts(*sizes)
    found = strata(rows, 32, least=6)
    for iteration in range(40):
        counts = Counter(rows[row].meta["kind"] for row in found.batch(iteration))
        assert min(counts.values()) >= 6
        assert len(counts) == len(sizes)


def test_the_data_module_shares_a_stratified_batch_between_processes(prompt_data: Callable[..., Any]) -> None:
    data = prompt_data(batch_size=8, samples_per_prompt=2)
    data.setup("fit")
    free = [row.prompt for row in data.batch(3).rows]
    data.stratify({})
    assert [row.prompt for row in data.batch(3).rows] == free  # nothing to keep apart
    data.stratify({"harm": Columns({"category": "harmful"})})
    whole = data.batch(3).rows
    assert sum(row.meta["category"] == "harmful" for row in whole) == 2  # a quarter of the prompts, two responses each
    assert [row.prompt for row in whole[::2]] == [row.prompt for row in whole[1::2]]
    parts = [row.prompt for rank in range(2) for row in data.batch(3, rank, 2).rows]
    assert parts == [row.prompt for row in whole]


def test_too_few_per_batch_are_told_and_too_many_refused() -> None:
    with pytest.warns(InputWarning, match=r"constraints\.1\.where: .* 10 prompts has 0\.5 of them.*min_stratum=8"):
        strata(prompts(95, 5), 10)
    with pytest.raises(UserError, match=r"ppo\.min_stratum=6: 2 kinds of prompts need 12 in a batch, which holds 10"):
        strata(prompts(95, 5), 10, least=6)
