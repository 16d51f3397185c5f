"""Constraints on some prompts, by hand: what J is, what its gradient is, what an empty batch says, who decides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from csrlhf.constraints import Chance, Constraints, CVaR, Mean, Pessimistic
from csrlhf.constraints.where import Columns, check_selected
from csrlhf.errors import UserError
from csrlhf.penalties import Rectified, RePO
from csrlhf.penalties.base import ask_update
from csrlhf.penalties.gate import Gate
from csrlhf.types import Layout, PromptRow

KINDS = ["benign", "harmful", "benign", "harmful", "benign", "harmful", "benign", "benign"]
ROWS = [PromptRow(f"p{n}", {"category": kind, "number": n}) for n, kind in enumerate(KINDS)]
LOGITS = torch.tensor([-1.0, 2.0, -1.0, -1.0, 3.0, 2.0, -1.0, -1.0]).unsqueeze(-1)
"""Unsafe: two of three harmful ones, one of five benign ones."""
HARMFUL = {"category": ["harmful"]}


def chance(threshold: float = 0.5, where: Any = HARMFUL, **options: Any) -> Constraints:
    return Constraints({"harm": Chance(threshold, where=where, **options)})


def test_j_is_the_rate_among_the_chosen() -> None:
    state = chance()(LOGITS, rows=ROWS)
    assert state.value_K.item() == pytest.approx(2 / 3)
    assert state.stderr_K.item() == pytest.approx((2 / 9 / 2) ** 0.5)  # variance 2/9, of three prompts
    assert state.counts == (3,)
    assert chance(where=None)(LOGITS).value_K.item() == pytest.approx(3 / 8)


def test_the_batch_s_mean_of_the_sample_costs_is_j() -> None:
    """Costs of the others are 0, and those of the chosen count 8/3: the batch's gradient is that of J."""
    costs = chance()(LOGITS, rows=ROWS).sample_cost_BK[:, 0]
    assert costs.tolist() == pytest.approx([0, 8 / 3, 0, 0, 0, 8 / 3, 0, 0])
    assert costs.mean().item() == pytest.approx(2 / 3)


def test_every_statistic_looks_at_the_chosen_alone() -> None:
    logits = torch.tensor([9.0, 1.0, 9.0, 2.0, 9.0, 6.0, 9.0, 9.0]).unsqueeze(-1)
    for make in (
        lambda where: Mean(0.0, "logit", where=where),
        lambda where: CVaR(0.0, 0.5, "logit", where=where),
        lambda where: Pessimistic(0.0, 0.1, "logit", where=where),
    ):
        found = Constraints({"harm": make(HARMFUL)})(logits, rows=ROWS)
        alone = Constraints({"harm": make(None)})(logits[[1, 3, 5]])
        torch.testing.assert_close(found.value_K, alone.value_K)
        torch.testing.assert_close(found.stderr_K, alone.stderr_K)
        torch.testing.assert_close(found.sample_cost_BK[[1, 3, 5]], alone.sample_cost_BK * 8 / 3)


def test_several_responses_to_a_prompt_count_as_one_prompt() -> None:
    rows = [row for row in ROWS[:4] for _ in range(2)]
    logits = torch.tensor([-1.0, -1, 1, 1, -1, -1, 1, -1]).unsqueeze(-1)
    state = chance()(logits, rows=rows, layout=Layout(per_prompt=2))
    assert state.value_K.item() == pytest.approx(3 / 4)
    assert state.stderr_K.item() == pytest.approx(0.25)  # means 1 and 1/2: deviation .35, of two prompts


def test_each_prompt_is_gated_by_the_other_chosen_ones() -> None:
    """Without prompt 1 or 5 half of the harmful rest is unsafe, without 3 all; without a benign one it is 2/3."""
    state = chance(0.6)(LOGITS, rows=ROWS, layout=Layout(part_N=torch.arange(8)))
    assert state.rest is not None
    j = (state.rest[0][:, 0] + 0.6).tolist()
    assert j == pytest.approx([2 / 3, 1 / 2, 2 / 3, 1, 2 / 3, 1 / 2, 2 / 3, 2 / 3])


def test_a_batch_without_them_says_nothing() -> None:
    """The gate stays as it was, no response pays, and no dual moves."""
    constraints, benign = chance(0.5), [0, 2, 4]
    first = constraints(LOGITS[benign], remember=True, rows=[ROWS[n] for n in benign])
    assert (first.value_K.item(), first.violation_K.item(), first.news_K.item()) == (0.5, 0.0, 0.0)  # at d
    constraints(LOGITS, remember=True, rows=ROWS)
    silent = constraints(LOGITS[benign], remember=True, rows=[ROWS[n] for n in benign])
    assert silent.value_K.item() == pytest.approx(2 / 3)
    assert silent.violation_K.item() == pytest.approx(1 / 6)
    assert silent.news_K.item() == 0.0
    assert silent.sample_cost_BK.tolist() == [[0.0]] * 3
    assert constraints.upper_bounds(silent, 3, 0.95) == (float("inf"),)  # and bounds nothing


def test_a_window_holds_the_chosen_alone_and_the_state_is_kept() -> None:
    constraints = chance(0.5, window=6)
    constraints(LOGITS, remember=True, rows=ROWS)
    again = constraints(-LOGITS, remember=True, rows=ROWS)  # of three harmful ones one is unsafe now
    assert again.value_K.item() == pytest.approx(3 / 6)
    other = chance(0.5, window=6)
    other.load_state_dict(constraints.state_dict())
    silent = other(LOGITS[[0]], remember=True, rows=[ROWS[0]])
    assert silent.value_K.item() == pytest.approx(3 / 6)


def test_bounds_count_the_chosen() -> None:
    state = chance()(LOGITS, rows=ROWS)
    only = chance(where=None)(LOGITS[[1, 3, 5]])
    assert chance().upper_bounds(state, 8, 0.95) == pytest.approx(chance(where=None).upper_bounds(only, 3, 0.95))


def test_two_processes_find_what_one_finds() -> None:
    whole = chance()(LOGITS, rows=ROWS)

    def gather(rows: slice) -> Any:
        def call(value: Tensor) -> Tensor:
            column = (
                (LOGITS[:, 0] > 0).float()
                if value.dtype != torch.bool
                else torch.tensor([kind == "harmful" for kind in KINDS])
            )
            assert torch.equal(value, column[rows])
            return column

        return call

    for rows in (slice(0, 3), slice(3, 8)):
        part = chance()(
            LOGITS[rows], gather(rows), rows=ROWS[rows], layout=Layout(1, rows.start, rows.stop - rows.start)
        )
        torch.testing.assert_close(part.value_K, whole.value_K)
        torch.testing.assert_close(part.sample_cost_BK, whole.sample_cost_BK[rows])


def test_columns_are_all_to_fit_and_values_any_of_those_listed() -> None:
    assert Columns({"category": ["harmful", "odd"], "number": [1, "5", 0]})(ROWS) == [n in (1, 5) for n in range(8)]
    assert Columns({"category": "harmful"})(ROWS) == Columns(HARMFUL)(ROWS)
    assert Columns({"harmful": True})([PromptRow("a", {"harmful": True}), PromptRow("b", {"harmful": False})]) == [
        True,
        False,
    ]


def test_a_selector_of_one_s_own_is_asked() -> None:
    state = chance(where=lambda rows: [row.meta["number"] < 2 for row in rows])(LOGITS, rows=ROWS)
    assert state.value_K.item() == pytest.approx(1 / 2)


@pytest.mark.parametrize(
    ("where", "message"),
    [({"categry": ["x"]}, r"where\.categry: no prompt has such a column; there are: category, number"),
     ({"category": ["harmfull"]}, r"where\.category=harmfull: no prompt has it; there are: benign, harmful"),
     (lambda rows: [False] * len(rows), r"selects none of the 8 training prompts"),
     (lambda rows: [True], r"constraints\.harm\.where: function answered 1 of 8 prompts")],
)  # fmt: skip
def test_what_selects_nothing_names_the_key_and_what_there_is(where: Any, message: str) -> None:
    selector = chance(where=where).kinds["harm"]
    with pytest.raises(UserError, match=message):
        check_selected("harm", selector, ROWS)


@pytest.mark.parametrize("where", [{}, {"category": []}, 3])
def test_a_choice_that_is_none_is_refused_when_it_is_made(where: Any) -> None:
    with pytest.raises(UserError, match=r"constraints\.<name>\.where"):
        Chance(0.1, where=where)


def test_without_prompts_it_says_so() -> None:
    with pytest.raises(UserError, match=r"constraints\.harm\.where: the prompts are not known here"):
        chance()(LOGITS)


def weighed(penalty: Any, state: Any, layout: Layout) -> Any:
    penalty.setup(["harm"])
    gate = Gate(penalty.gate, 1)
    return gate.weigh(penalty, state.violation_K, state.stderr_K, state.rest, layout, state.chosen_NK)


def test_the_weight_is_averaged_over_the_prompts_that_it_acts_on() -> None:
    """Of the harmful ones 1 and 5 see 1/2 and 3 sees 1; a benign one, whose costs are 0, would see 2/3."""
    layout = Layout(part_N=torch.arange(8))
    state = chance(0.6)(LOGITS, rows=ROWS, layout=layout)
    found = weighed(Rectified(4.0, margin_z=0.0, gate="leave_one_out"), state, layout)
    assert found.weights.cost_K.flatten().tolist() == [4.0, 0, 4, 4, 4, 0, 4, 4]
    assert found.open_K.item() == pytest.approx(1 / 3)  # 6/8 over all of them
    assert found.cost_K.item() == pytest.approx(4 / 3)


def test_each_prompt_s_violation_is_averaged_over_those_that_it_is_about() -> None:
    layout = Layout(part_N=torch.arange(8), inside=True)
    state = chance(0.1)(LOGITS, rows=ROWS, layout=layout)
    found = weighed(RePO(2.0), state, layout)
    assert found.weights.cost_K.flatten().tolist() == [0.0, 2, 0, 0, 0, 2, 0, 0]
    assert found.rectified_K.item() == pytest.approx(2 / 3 * 0.9)
    assert found.normaliser.item() == pytest.approx(1 / ((6 + 2 / 3) / 8))  # half-way between 1 and 3 it is not


def test_a_batch_that_says_nothing_moves_no_state() -> None:
    """RePO's tolerance would lower λ, an average would forget."""
    repo, average = RePO(1.0, tolerance=0.5), Rectified(4.0, ema=0.9)
    for penalty in (repo, average):
        penalty.setup(["harm", "other"])
        before = {name: buffer.clone() for name, buffer in penalty.named_buffers()}
        news = {"rectified_K": torch.tensor([0.0, 0.9]), "open_K": torch.tensor([0.0, 1.0])}
        ask_update(penalty, torch.tensor([0.0, 0.3]), [True, False], **news)
        after = dict(penalty.named_buffers())
        assert all(after[name][0] == buffer[0] for name, buffer in before.items() if buffer.shape == (2,))
        assert any(after[name][1] != buffer[1] for name, buffer in before.items() if buffer.shape == (2,))


def test_without_a_part_the_memory_is_what_is_left_to_look_at() -> None:
    """One harmful prompt in a batch: its gate is what earlier batches said, and not closed."""
    constraints, layout = chance(0.5, window=64), Layout(part_N=torch.arange(4))
    constraints(torch.ones(8, 1), remember=True, rows=ROWS)
    state = constraints(LOGITS[[0, 1, 2, 4]], remember=True, rows=[ROWS[n] for n in (0, 1, 2, 4)], layout=layout)
    assert state.rest is not None
    assert (state.rest[0][1] + 0.5).item() == 1.0
    alone = chance(0.5)
    alone(torch.ones(8, 1), remember=True, rows=ROWS)
    state = alone(LOGITS[[0, 1, 2, 4]], remember=True, rows=[ROWS[n] for n in (0, 1, 2, 4)], layout=layout)
    assert state.rest is not None
    assert (state.rest[0][1] + 0.5).item() == 1.0  # as it was


def test_a_tail_of_the_rest_needs_its_own_number() -> None:
    """Ten chosen responses have a worst tenth; nine do not, and the gate is as it was: no error at the first step."""
    rows = [PromptRow(f"p{n}", {"category": "harmful"}) for n in range(10)]
    constraint = Constraints({"harm": CVaR(0.5, alpha=0.9, where=HARMFUL)})
    state = constraint(torch.linspace(-2, 2, 10).unsqueeze(-1), rows=rows, layout=Layout(part_N=torch.arange(10)))
    assert state.rest is not None
    assert state.rest[0].abs().max() == 0  # d, before anything was known
    for gate in ("leave_one_out", "held_out", "prompt"):
        with pytest.raises(UserError, match=r"constraints\.harm needs 10"):
            Gate(gate, 1).check_least(constraint.least_counts, 10, 2)
    Gate("leave_one_out", 1).check_least(constraint.least_counts, 11, 1)
