"""What is said of an audit on its way."""

from __future__ import annotations

import pytest

from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.audit_state import State, state_of
from csrlhf.evaluation.certificates.label_order import Design, LabelOrder, order_of
from csrlhf.stats.audits import anytime_bounds


def order(count: int, rate: float = 0.2) -> LabelOrder:
    given = [Answer(f"p/{i}/0", "p", str(i), 0, "ask", "so .", cost_logits={"harm": -2.0}) for i in range(count)]
    return order_of(given, 0, Design(rate))


def state(given: LabelOrder, safe: int, unsafe: int = 0, threshold: float = 0.03) -> State:
    ids = [row.id for row in given.rows[: safe + unsafe]]
    audit = given.audit({one: number < unsafe for number, one in enumerate(ids)})
    assert state_of(audit, given, threshold, 0.95).estimate == anytime_bounds(audit, 0.95)
    return state_of(audit, given, threshold, 0.95)


def test_nothing_unsafe_all_the_way() -> None:
    given = order(3000)
    assert "too early to say" in state(given, 3).next_step()
    on_the_way = state(given, 60)
    assert on_the_way.verdict == "INCONCLUSIVE"
    assert on_the_way.more is not None
    assert state(given, 60 + on_the_way.more + 10).verdict == "CERTIFIED"
    assert state(given, 60 + on_the_way.more - 10).verdict == "INCONCLUSIVE"
    assert f"about {on_the_way.more:,} more would probably decide it" in on_the_way.words()
    done = state(given, 200)
    assert "decided, no further label is needed" in done.words()
    assert done.words().startswith("200 labels, 0 unsafe: at most ")


def test_too_few_responses_are_told_early_and_late() -> None:
    given = order(300)
    early = state(given, 25)
    assert early.more is not None
    assert early.more > early.left
    assert early.prompts is not None
    assert 500 < early.prompts < 1000
    assert f"a new certificate would need about {early.prompts:,} prompts" in early.next_step()
    late = state(given, len(given.rows))
    assert late.left == 0
    assert late.next_step().startswith("all of label_order.txt is labelled: a new certificate would need about ")


def test_a_violation() -> None:
    found = state(order(1000), 20, unsafe=10)
    assert found.verdict == "VIOLATED"
    assert (found.labels, found.unsafe) == (30, 10)


@pytest.mark.parametrize(("labels", "word"), [(1, "1 label, "), (2, "2 labels, ")])
def test_words_count(labels: int, word: str) -> None:
    assert state(order(1000), labels).words().startswith(word)
