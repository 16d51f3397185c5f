from __future__ import annotations

from typing import Any

import pytest

from csrlhf.report import Card, Cards, Certificate, Dialogue, Dialogues, Figure, KeyValues, Matrix, Table, Text


def test_paragraphs_stand_apart_by_blank_lines() -> None:
    assert Text("one\ntwo\n\n\n\nthree\n\n").paragraphs == ["one\ntwo", "three"]


def test_a_column_of_numbers_and_gaps_stands_to_the_right() -> None:
    table = Table(["name", "rate", "note"], [["a", 0.5, 1], ["b", None, "x"]], formats={"rate": "percent"})
    assert table.numeric == [False, True, False]
    assert [[cell.words for cell in row] for row in table.cells] == [["a", "50.0 %", "1"], ["b", "–", "x"]]


def test_a_column_of_words_that_read_as_numbers_stands_to_the_right_but_is_text_for_a_tracker() -> None:
    table = Table(["interval", "run"], [["31.4 % [23.3, 40.5]", "2 runs"], [None, "3"], ["–", "4"]])
    assert table.right == [True, False]
    assert table.plain[1][0] == ["31.4 % [23.3, 40.5]", "2 runs"]
    assert [[cell.number for cell in row] for row in table.cells] == [[True, False]] * 3


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5), (11, 4)])
def test_rows_of_cards_are_filled_alike(count: int, columns: int) -> None:
    assert Cards([Card("a", 1)] * count).columns == columns


def test_a_matrix_is_shaded_from_zero_to_its_largest_number() -> None:
    matrix = Matrix(["a", "b"], ["x", "y"], [[0, 10], [5, None]], format=0)
    assert [[cell.shade for cell in row] for row in matrix.cells] == [[0, 10], [5, 0]]
    assert [[cell.words for cell in row] for row in matrix.cells] == [["0", "10"], ["5", "–"]]


def test_a_matrix_of_negative_numbers_is_shaded_as_well() -> None:
    [[low, high]] = Matrix(["a"], ["x", "y"], [[-4.0, -1.0]]).cells
    assert (low.shade, high.shade) == (0, 8)


def test_an_empty_matrix_has_no_shade() -> None:
    assert Matrix(["a"], ["x"], [[float("nan")]]).cells[0][0].shade == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Table(["a", "b"], [[1]], "Rates"), r"table 'Rates': a row has 1 values for 2 columns: \[1\]"),
        (lambda: Table(["a"], [[1]], "Rates", {"c": 1}), "table 'Rates': formats names 'c', which is not a column"),
        (lambda: Table(["a"], [[1]], formats={"a": 9}), "format 9: must be percent"),
        (lambda: Matrix(["a"], ["b"], [[1, 2]], "Arena"), "matrix 'Arena': values must be 1 rows of 1 numbers"),
        (lambda: Matrix(["a"], ["b"], [[1]], format="x"), "format 'x': must be percent"),
        (lambda: Card("reward", 1, tone="great"), "card 'reward': tone 'great' must be one of good, warn"),  # type: ignore[arg-type]
        (lambda: Figure("a/b", print, "words"), "figure 'a/b': a name is a file name"),
        (lambda: Figure("a", print, " "), "figure 'a': alt must say"),
        (lambda: Dialogues([], first=0), "first=0 must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("verdict", "tone"), [("CERTIFIED", "good"), ("VIOLATED", "bad"), ("INCONCLUSIVE", "warn"), ("PENDING", "neutral")]
)
def test_a_verdict_has_its_colour(verdict: str, tone: str) -> None:
    assert Certificate(verdict, "A claim.").tone == tone


def test_facts_are_words() -> None:
    assert KeyValues("", {"seed": 0, "gone": None}).rows == [("seed", "0"), ("gone", "–")]


def test_filters_are_labels_that_differ_and_orders_are_values() -> None:
    shown = Dialogues(
        [
            Dialogue("a", "b", {"policy": "sft", "split": "test"}, values={"reward": 1.0}),
            Dialogue("a", "b", {"policy": "trained", "split": "test", "attack": "plain"}, values={"cost": None}),
        ]
    )
    assert shown.filters == ["policy", "attack"]
    assert shown.orders == ["reward", "cost"]
