"""Blocks on the terminal: what is shown, in which form, and what is left to the page."""

from __future__ import annotations

from io import StringIO

import pytest

from csrlhf.report import (
    Block,
    Card,
    Cards,
    Certificate,
    Dialogue,
    Dialogues,
    Figure,
    KeyValues,
    Matrix,
    Section,
    Table,
    Text,
    Words,
    print_blocks,
)
from csrlhf.terminal import plain_console


def shown(*blocks: Block, width: int = 80, color: str | None = None) -> str:
    file = StringIO()
    options = {"force_terminal": True, "color_system": color} if color else {}
    print_blocks(blocks, plain_console(file=file, width=width, _environ={}, **options))
    return file.getvalue()


def test_every_kind_of_block_but_pictures_and_dialogues() -> None:
    figure = Figure("bars", lambda axes, palette: None, "two bars")
    text = shown(
        Section("Rates", [Table(["category", "n"], [["plain", 3], [None, 4]], "Counts."), figure]),
        Section("Only to be seen", [figure, Dialogues([Dialogue("how", "so")])]),
        Matrix(["safe"], ["better", "worse"], [[0.25, None]], "Shares.", format="percent", corner="answer"),
        Cards([Card("unsafe", 0.5, "of 4"), Card("runs", 3)]),
        Certificate("CERTIFIED", "It holds.", {"n": 20}, ["Because."]),
        KeyValues("", {"seed": 0}),
        Text("one\n\n\ntwo"),
    )
    assert [line.rstrip() for line in text.splitlines()] == [
        "",
        "Rates",
        "Counts.",
        "┏━━━━━━━━━━┳━━━┓",
        "┃ category ┃ n ┃",
        "┡━━━━━━━━━━╇━━━┩",
        "│ plain    │ 3 │",
        "│ –        │ 4 │",
        "└──────────┴───┘",
        "Shares.",
        "┏━━━━━━━━┳━━━━━━━━┳━━━━━━━┓",
        "┃ answer ┃ better ┃ worse ┃",
        "┡━━━━━━━━╇━━━━━━━━╇━━━━━━━┩",
        "│ safe   │ 25.0 % │     – │",
        "└────────┴────────┴───────┘",
        "unsafe: 0.5 (of 4)",
        "runs: 3",
        "CERTIFIED: It holds.",
        "n: 20",
        "Because.",
        "seed: 0",
        "one",
        "two",
    ]


def test_short_words_stand_where_the_full_ones_do_not_fit() -> None:
    table = Table(["rows", "right"], [["all", Words("75.0% (19.4 to 99.4)", "75.0%")], ["none", None]])
    assert "75.0% (19.4 to 99.4)" in shown(table, width=40)
    assert "│ 75.0% │" in shown(table, width=30)
    assert "19.4" not in shown(table, width=30)


def test_a_long_name_is_folded_and_nothing_is_cut() -> None:
    text = shown(Table(["x" * 50, "n"], [["y" * 60, 1]]), width=30)
    assert max(map(len, text.splitlines())) == 30
    assert (text.count("x"), text.count("y")) == (50, 60)


@pytest.mark.parametrize(("tone", "code"), [("good", "\x1b[1;32m"), ("warn", "\x1b[33m"), ("bad", "\x1b[1;31m")])
def test_tones_are_colours_where_there_are_colours(tone: str, code: str) -> None:
    assert f"{code}words" in shown(Text("words", tone), color="standard")  # type: ignore[arg-type]  # a tone
    assert shown(Text("words", tone)) == "words\n"  # type: ignore[arg-type]  # a tone


def test_marked_rows_are_bold() -> None:
    text = shown(Table(["a"], [["one"], ["two"]], marked=[1]), color="standard")
    assert "\x1b[1mtwo" in text.replace("\x1b[1m two", "\x1b[1mtwo")
    assert "\x1b[1mone" not in text.replace("\x1b[1m one", "\x1b[1mone")
