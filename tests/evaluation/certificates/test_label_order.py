"""The order of labels: random, the same for everybody, with the probabilities that it says; and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.label_order import (
    Design,
    OrderFile,
    design_of,
    label_order,
    new_design,
    order_of,
    read_order,
    write_order,
)
from csrlhf.evaluation.settings import AuditSettings


def answers(count: int, flagged: int = 0, refused: int = 0) -> list[Answer]:
    """The first ones are flagged, the last ones are refusals of best of N."""
    found = []
    for i in range(count):
        said: dict[str, Any] = {"cost_logits": {"harm": 2.0 if i < flagged else -2.0, "privacy": -3.0}}
        if i >= count - refused:
            said = {"meta": {"decoded": {"abstained": True, "accepted": [False]}}}
        found.append(Answer(f"p/{i}/0", "p", str(i), 0, f"ask {i}", "so .", **said))
    return found


def test_what_is_flagged_always_stands_in_it_and_the_rest_as_often_as_it_says() -> None:
    given = answers(4000, flagged=100)
    order = order_of(given, 0, Design(rate=0.2))
    flagged = [row for row in order.rows if row.rate == 1.0]
    assert {row.id for row in flagged} == {one.id for one in given[:100]}
    others = len(order.rows) - 100
    assert others == pytest.approx(0.2 * 3900, abs=4 * np.sqrt(0.16 * 3900))
    assert order.shares == {1.0: 0.025, 0.2: 0.975}
    places = {one: place for place, one in enumerate(label_order([one.id for one in given], 0), start=1)}
    assert [row.place for row in order.rows] == sorted(places[row.id] for row in order.rows)
    assert order_of(given[::-1], 0, Design(rate=0.2)) == order
    assert order_of(given, 1, Design(rate=0.2)).rows != order.rows


def test_place_and_choice_are_independent() -> None:
    """A choice by the hash that gives the place would take the first fifth, and no later one."""
    order = order_of(answers(4000), 0, Design(rate=0.2))
    assert np.mean([row.place for row in order.rows]) == pytest.approx(2000, abs=4 * 1155 / np.sqrt(800))


def test_a_cost_model_that_flags_a_lot_is_not_labelled_out() -> None:
    """And a response's rate depends on nothing behind it: cut short, the order is the same."""
    given = answers(1000, flagged=400)
    order = order_of(given, 0, Design(rate=0.2))
    rates = [row.rate for row in order.rows]
    assert set(rates) == {0.2, 0.4, 1.0}
    assert rates.count(1.0) < 20 < rates.count(0.4)
    assert order.shares[0.4] == pytest.approx(0.4, abs=0.02)
    places = label_order([one.id for one in given], 0)
    first = set(places[:300])
    cut = order_of([one for one in given if one.id in first], 0, Design(rate=0.2))
    assert list(cut.rows) == [row for row in order.rows if row.place <= 300]
    assert 0.4 not in {row.rate for row in order_of(answers(1000, flagged=50), 0, Design(rate=0.2)).rows}


def test_a_score_can_take_more_than_what_is_flagged() -> None:
    given = answers(6, flagged=2)
    assert {row.rate for row in order_of(given, 0, Design(0.5, score=0.1)).rows} == {1.0}  # sigmoid(-2) is 0.119
    assert all(row.rate == 0.5 for row in order_of(given, 0, Design(0.5, score=1.0)).rows)


def test_refusals_need_no_label_unless_their_number_is_fixed() -> None:
    given = answers(30, refused=10)
    refused = {one.id for one in given[20:]}
    assert not refused & {row.id for row in order_of(given, 0, Design(refusals=False)).rows}
    assert refused <= {row.id for row in order_of(given, 0, Design()).rows}
    audit = order_of(given, 0, Design(refusals=False)).audit({})
    assert audit.passed == order_of(given, 0, Design(refusals=False)).rows[0].place - 1


def test_an_audit_passes_up_to_the_next_label_and_to_the_end() -> None:
    order = order_of(answers(500, flagged=10), 0, Design(rate=0.2))
    ids = [row.id for row in order.rows]
    assert order.audit(dict.fromkeys(ids[:3], False)).passed == order.rows[3].place - 1
    assert order.audit(dict.fromkeys(ids, False)).passed == 500


@pytest.mark.parametrize(
    ("audit", "count", "thresholds", "rate"),
    [
        (AuditSettings(), 2000, [0.03], 0.2),
        (AuditSettings(), 2000, [0.05, 0.01], 0.6),
        (AuditSettings(), 300, [0.03], 1.0),
        (AuditSettings(), 2000, [], 1.0),
        (AuditSettings(rate=0.1), 300, [0.03], 0.1),
        (AuditSettings(fixed=200), 2000, [0.03], 1.0),
    ],
)
def test_the_design_of_new_responses(audit: AuditSettings, count: int, thresholds: list[float], rate: float) -> None:
    assert new_design(audit, count, thresholds, 0.95) == Design(rate, 0.5, refusals=audit.fixed is not None)


def test_the_design_of_kept_responses_is_what_was_fixed_when_they_were_drawn() -> None:
    about = {"audit": {"rate": 0.3, "score": 0.4}}
    assert design_of(AuditSettings(), about) == Design(0.3, 0.4, refusals=False)
    assert design_of(AuditSettings(), {}) == Design(1.0, 0.5, refusals=False)  # of an older version
    assert design_of(AuditSettings(rate=0.5), about) == Design(0.5, 0.4, refusals=False)
    assert design_of(AuditSettings(fixed=100), about) == Design(1.0, 0.5, refusals=True)
    with pytest.raises(UserError, match=r"certify\.audit\.rate=0\.5: with certify\.audit\.fixed=100"):
        AuditSettings(rate=0.5, fixed=100)


def test_the_file_holds_everything(tmp_path: Path) -> None:
    order = order_of(answers(200, flagged=10), 3, Design(rate=0.25, refusals=False))
    given = OrderFile(order, 0.9, 2, {"harm": 0.03, "privacy": 0.01}, 3, None)
    write_order(tmp_path / "label_order.txt", given)
    assert read_order(tmp_path / "label_order.txt") == given
    lines = (tmp_path / "label_order.txt").read_text(encoding="utf-8").splitlines()
    assert lines[2].split("\t") == [order.rows[0].id, str(order.rows[0].place), f"{order.rows[0].rate:g}"]


def test_an_old_file_is_an_order_of_all_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "label_order.txt"
    path.write_text("p/1/0\np/0/0\n", encoding="utf-8")
    found = read_order(path)
    assert [(row.id, row.place, row.rate) for row in found.order.rows] == [("p/1/0", 1, 1.0), ("p/0/0", 2, 1.0)]
    assert found.thresholds == {}
    path.write_text('# {"total": 3}\n#\np/1/0\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"label_order\.txt: is not as stage=certify wrote it"):
        read_order(path)
