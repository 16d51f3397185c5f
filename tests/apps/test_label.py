"""Labelling in the terminal: blind, shuffled, resumable, nothing lost."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from csrlhf.apps import label
from csrlhf.evaluation.answers.labels import Labels, read_labels
from csrlhf.evaluation.answers.records import Answer, with_id, write_answers
from csrlhf.evaluation.certificates.label_order import FILE, Design, OrderFile, order_of, write_order

ANSWERS = [
    with_id(Answer("", policy, f"test-{prompt}", 0, f"ask {prompt}", f"reply {prompt} {policy[::-1]}"))
    for policy in ("secret", "hidden")
    for prompt in range(4)
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``run("y\\nn\\nq\\n", ...)``: what was printed, and the exit code."""
    write_answers(tmp_path / "answers.jsonl", ANSWERS, {})

    def start(typed: str, *words: str, rater: str = "anna", out: str = "labels.csv") -> tuple[str, int]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        file = str(tmp_path / "answers.jsonl")
        code = label.main([file, "--rater", rater, "--out", str(tmp_path / out), *words])
        printed = capsys.readouterr()
        return printed.out + printed.err, code

    return start


def test_a_session_a_pause_and_the_rest(run, tmp_path: Path) -> None:
    out, code = run("y\nwhat\nN\ns\nq\n")
    assert code == 0
    assert "2 judged, 6 left" in out
    first = read_labels(tmp_path / "labels.csv")
    assert sorted(given["anna"] for given in first.by_id.values()) == [False, True]
    out, _ = run("n\n" * 6)
    assert "3 of 8" in out
    assert "6 judged, 0 left" in out
    assert len(read_labels(tmp_path / "labels.csv").by_id) == 8
    assert "0 judged, 0 left" in run("")[0]
    run("y\n" * 8, rater="ben")
    assert read_labels(tmp_path / "labels.csv").raters == ("anna", "ben")


def test_nothing_gives_the_policy_away(run) -> None:
    out, _ = run("n\n" * 8)
    assert "ask 1" in out
    assert "reply 1" in out
    assert "secret" not in out
    assert "hidden" not in out


def test_every_rater_judges_the_same_part_in_the_same_order() -> None:
    nothing = Labels({})
    first, second = (label.to_judge(ANSWERS, nothing, rater, 5) for rater in ("anna", "ben"))
    assert first == second
    assert len(first) == 5
    assert first != sorted(first, key=lambda answer: answer.id)
    assert label.to_judge(ANSWERS[::-1], nothing, "anna", 5) == first
    assert label.to_judge(ANSWERS, nothing, "anna", 5, seed=1) != first
    assert len(label.to_judge(ANSWERS, nothing, "anna")) == 8


def test_a_kill_loses_no_judgement(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = iter(["y\n", "n\n"])

    class Cut(io.StringIO):
        def readline(self, size: int = -1, /) -> str:
            try:
                return next(asked)
            except StopIteration:
                raise KeyboardInterrupt from None

    monkeypatch.setattr(sys, "stdin", Cut())
    file = str(tmp_path / "answers.jsonl")
    assert label.main([file, "--rater", "anna", "--out", str(tmp_path / "labels.csv")]) == 130
    assert len(read_labels(tmp_path / "labels.csv").by_id) == 2


@pytest.mark.parametrize(
    ("words", "rater", "out", "message"),
    [
        ((), " ", "labels.csv", "--rater is empty"),
        ((), "anna", "labels.txt", "name a .csv file"),
        (("--num", "0"), "anna", "labels.csv", "--num 0: must be >= 1"),
    ],
)
def test_what_is_refused(run, words: tuple[str, ...], rater: str, out: str, message: str) -> None:
    printed, code = run("", *words, rater=rater, out=out)
    assert code == 1
    assert message in " ".join(printed.split())


def test_labels_of_another_file_are_not_mixed_in(run, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,rater,unsafe\nother/1/0,ben,1\n", encoding="utf-8")
    printed, code = run("y\n")
    assert code == 1
    assert "there is no response 'other/1/0'" in printed


def test_answers_cannot_write_to_the_terminal(tmp_path: Path, run) -> None:
    hostile = with_id(Answer("", "p", "1", 0, "ask", "\x1b[2Jgone [bold]x[/bold]"))
    write_answers(tmp_path / "answers.jsonl", [hostile], {})
    out, _ = run("n\n")
    assert "\x1b[2J" not in out
    assert "gone [bold]x[/bold]" in out


# A certificate's answers: its own order, where the audit stands, and when it is decided.

CERTIFIED = [
    with_id(Answer("", "p", f"certify-{i}", 0, f"ask {i}", "reply", cost_logits={"harm": 2.0 if i < 5 else -2.0}))
    for i in range(400)
]


@pytest.fixture
def audited(tmp_path: Path, run):
    """As ``run``, on a certificate's answers; also their order."""
    write_answers(tmp_path / "answers.jsonl", CERTIFIED, {"kind": "certification"})
    order = order_of(CERTIFIED, 0, Design(rate=0.5))
    write_order(tmp_path / FILE, OrderFile(order, 0.95, 1, {"harm": 0.1}, 1))
    return run, [row.id for row in order.rows]


def test_it_follows_the_certificates_order_and_ends_when_it_is_decided(audited, tmp_path: Path) -> None:
    run, order = audited
    out, code = run("n\n" * 3 + "q\n")
    assert code == 0
    assert "1 of 20" in out
    assert "3 labels, 0 unsafe: at most" in flat(out)
    assert "too early to say" in flat(out)
    assert list(read_labels(tmp_path / "labels.csv").by_id) == order[:3]
    out, _ = run("n\n" * 200)
    assert "INCONCLUSIVE; about" in flat(out)
    assert "CERTIFIED; decided, no further label is needed" in flat(out)
    decided = len(read_labels(tmp_path / "labels.csv").by_id)
    assert 36 <= decided < 60  # nothing unsafe: ln(2/0.05) / 0.1 is 37
    assert list(read_labels(tmp_path / "labels.csv").by_id) == order[:decided]
    out, _ = run("n\nn\nq\n")  # who goes on is not stopped again
    assert f"{decided + 2} labels" in flat(out)


def test_a_second_rater_goes_through_what_is_decided(audited, tmp_path: Path) -> None:
    run, _ = audited
    run("n\n" * 200)
    decided = len(read_labels(tmp_path / "labels.csv").by_id)
    out, _ = run("y\n" * 10 + "q\n", rater="ben")
    assert "10 judged" in out
    assert f"{decided} labels, 10 unsafe" in flat(out)  # ties are open, and open questions unsafe
    assert "INCONCLUSIVE" in flat(out).split("10 unsafe")[1]


def test_who_cannot_tell_says_so_and_skips_nothing(audited, tmp_path: Path) -> None:
    run, order = audited
    out, _ = run("s\nu\nq\n")
    assert "[u]nsure" in out
    assert "1 label, 1 unsafe" in flat(out)
    assert (tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines()[1] == f"{order[0]},anna,unsure"


def test_labels_out_of_order_wait_until_the_gap_is_filled(audited, tmp_path: Path) -> None:
    run, order = audited
    rows = "".join(f"{one},anna,no\n" for one in [order[0], *order[2:7]])
    (tmp_path / "labels.csv").write_text("id,rater,unsafe\n" + rows, encoding="utf-8")
    out, _ = run("n\nq\n")
    assert "1 label, 0 unsafe" in flat(out)
    assert "(5 labels behind a gap do not count yet)" in flat(out)
    assert "7 labels, 0 unsafe" in flat(out)
    (tmp_path / "labels.csv").write_text(f"id,rater,unsafe\n{order[3]},anna,no\n", encoding="utf-8")
    out, _ = run("q\n")
    assert "no bound: certify.labels=" in flat(out)
    assert f"label '{order[0]}'" in flat(out)


def test_chosen_second_opinions_get_no_bound(audited, tmp_path: Path) -> None:
    run, order = audited
    rows = "".join(f"{one},anna,{'yes' if number in (1, 5) else 'no'}\n" for number, one in enumerate(order[:8]))
    rows += f"{order[1]},ben,no\n{order[5]},ben,no\n"
    (tmp_path / "labels.csv").write_text("id,rater,unsafe\n" + rows, encoding="utf-8")
    out, _ = run("q\n", rater="ben")
    assert f"nobound:{tmp_path / 'labels.csv'}:benjudged" in "".join(out.split())  # a path may be broken anywhere


def test_the_bound_can_be_hidden_from_who_judges(audited) -> None:
    out, _ = audited[0]("n\n" * 60, "--hide")
    assert "60 judged" in out
    assert "CONCLUSIVE" not in out
    assert "CERTIFIED" not in out


def test_a_fixed_number_is_not_looked_at_before_it_is_reached(audited, tmp_path: Path) -> None:
    write_order(tmp_path / FILE, OrderFile(order_of(CERTIFIED, 0, Design()), 0.95, 1, {"harm": 0.1}, 1, fixed=50))
    out, _ = audited[0]("n\nn\nq\n")
    assert "2 of 50 labels; bounds follow when all are there" in flat(out)
    assert "at most" not in out


@pytest.mark.parametrize(
    ("words", "change", "message"),
    [
        (("--seed", "3"), None, "--seed 3: the order is that of"),
        (("--constraint", "privacy"), None, "--constraint privacy: labels can be held against harm"),
        ((), "gone", "label_order.txt is not beside it"),
        ((), "other", "it is the order of other answers"),
        ((), "two", "--constraint is missing: say which is judged, of harm, privacy"),
    ],
)
def test_what_is_refused_of_a_certificate(
    audited, tmp_path: Path, words: tuple[str, ...], change: str | None, message: str
) -> None:
    if change == "gone":
        (tmp_path / FILE).unlink()
    elif change == "other":
        write_order(tmp_path / FILE, OrderFile(order_of(ANSWERS, 0, Design())))
    elif change == "two":
        thresholds = {"harm": 0.1, "privacy": 0.1}
        write_order(tmp_path / FILE, OrderFile(order_of(CERTIFIED, 0, Design()), thresholds=thresholds, constraints=2))
    out, code = audited[0]("n\n", *words)
    assert code == 1
    assert message in flat(out)


def test_a_constraint_is_of_certificates_alone(run) -> None:
    out, code = run("n\n", "--constraint", "harm")
    assert code == 1
    assert "is of no certificate" in flat(out)


def flat(text: str) -> str:
    """Without the terminal's line breaks."""
    return " ".join(text.split())
