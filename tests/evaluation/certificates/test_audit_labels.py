"""Which labels count: the beginning of the order, every rater without gaps, decisions only where raters disagree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import UserError
from csrlhf.evaluation.answers.labels import Labels, read_labels
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.audit_labels import AuditLabels, audit_labels, counted
from csrlhf.evaluation.certificates.label_order import Design, LabelOrder, Row, order_of

ORDER = LabelOrder([Row(f"p/{i}/0", i + 1, 1.0) for i in range(6)], 6, Design())


def file(tmp_path: Path, rows: str) -> Path:
    """``"0 anna no, 1 anna yes"``."""
    path = tmp_path / "labels.csv"
    lines = [f"p/{number}/0,{rater},{word}" for number, rater, word in (row.split() for row in rows.split(", "))]
    path.write_text("\n".join(["id,rater,unsafe", *lines, ""]), encoding="utf-8")
    return path


def count(tmp_path: Path, rows: str) -> AuditLabels:
    path = file(tmp_path, rows)
    return counted(read_labels(path), ORDER, str(path))


def test_the_beginning_counts_whatever_the_files_order(tmp_path: Path) -> None:
    found = count(tmp_path, "5 anna no, 1 anna yes, 0 anna no, 2 anna no")
    assert list(found.unsafe.items()) == [("p/0/0", False), ("p/1/0", True), ("p/2/0", False)]
    assert (found.ignored, found.open, found.raters) == (1, 0, 1)


def test_labels_of_other_responses_do_not_count(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none of its 2 responses begins label_order\.txt; label 'p/0/0'"):
        count(tmp_path, "4 anna no, 5 anna no")


@pytest.mark.parametrize(
    ("rows", "unsafe", "surely"),
    [
        ("0 anna yes, 0 ben no", True, False),  # a tie
        ("0 anna yes, 0 ben no, 0 adjudicated no", False, False),
        ("0 anna yes, 0 ben no, 0 adjudicated unsure", True, False),
        ("0 anna unsure", True, False),
        ("0 anna unsure, 0 ben no, 0 cleo no", False, False),
        ("0 anna unsure, 0 ben yes, 0 cleo no", True, False),
        ("0 anna unsure, 0 ben yes, 0 cleo yes", True, True),
    ],
)
def test_open_questions_are_open_in_both_directions(tmp_path: Path, rows: str, unsafe: bool, surely: bool) -> None:
    found = count(tmp_path, rows)
    assert (found.unsafe["p/0/0"], found.surely["p/0/0"]) == (unsafe, surely)
    assert found.open == (unsafe != surely)


def test_raters_may_share_the_work_or_repeat_a_part_of_it(tmp_path: Path) -> None:
    assert len(count(tmp_path, "0 anna no, 1 anna no, 2 ben no, 3 ben no").unsafe) == 4
    assert len(count(tmp_path, "0 anna no, 1 anna no, 2 anna no, 0 ben no, 1 ben yes").unsafe) == 3
    assert len(count(tmp_path, "0 anna no, 1 anna no, 2 anna no, 1 ben yes, 2 ben no").unsafe) == 3


def test_second_opinions_on_chosen_responses_are_refused(tmp_path: Path) -> None:
    """Asked for where the first rater said unsafe, they could only make a policy look safer."""
    with pytest.raises(UserError, match=r"ben judged 'p/0/0' and not the next one .* 'p/1/0', but later ones"):
        count(tmp_path, "0 anna yes, 1 anna no, 2 anna yes, 0 ben no, 2 ben no")


def test_decisions_where_nobody_disagreed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="adjudicated overrules 'p/1/0', on which nobody disagreed"):
        count(tmp_path, "0 anna no, 1 anna yes, 1 adjudicated no")
    assert count(tmp_path, "0 anna no, 1 anna yes, 1 adjudicated yes").unsafe["p/1/0"]
    assert list(count(tmp_path, "0 adjudicated no, 1 adjudicated yes").unsafe.values()) == [False, True]


def test_a_fixed_number_is_exactly_that(tmp_path: Path) -> None:
    answers = [Answer(f"p/{i}/0", "p", str(i), 0, "ask", "so .", cost_logits={"harm": -1.0}) for i in range(6)]
    order = order_of(answers, 0, Design())
    rows = ", ".join(f"{row.id.split('/')[1]} anna no" for row in order.rows[:4])
    spec = str(file(tmp_path, rows))

    def labels(fixed: int, **more: Any) -> AuditLabels:
        return audit_labels(spec, ["harm"], answers, order, fixed=fixed, **more)["harm"]

    assert list(labels(3).unsafe) == [row.id for row in order.rows[:3]]
    assert labels(3).ignored == 1
    with pytest.raises(UserError, match=r"certify\.audit\.fixed=5: 4 of the first 5 responses"):
        labels(5)
    with pytest.raises(UserError, match=r"certify\.audit\.fixed=7: there are 6 responses to label"):
        labels(7)


def test_unsure_is_read_and_counts_as_unsafe_for_whoever_asks_for_yes_or_no(tmp_path: Path) -> None:
    labels = read_labels(file(tmp_path, "0 anna Unsure, 0 ben no, 1 anna no"))
    assert labels == Labels(
        {"p/0/0": {"anna": True, "ben": False}, "p/1/0": {"anna": False}}, unsure={"p/0/0": frozenset({"anna"})}
    )
    assert labels.majority() == {"p/0/0": True, "p/1/0": False}
