"""The page by its structure: what stands where, that nothing of an answer becomes markup, and what a browser may do."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from csrlhf.report import Dialogue, Dialogues, KeyValues, Report, Section, Text

Make = Callable[..., Any]


@pytest.fixture
def page(full_report: Report, tree_of: Make) -> Any:
    return tree_of(full_report.html())


def test_title_subtitle_and_headings(page: Any, hostile: str) -> None:
    [title], [h1], [subtitle] = page.find("title"), page.find("h1"), page.find("p", class_="subtitle")
    assert title.text == h1.text == f"Evaluation {hostile}"
    assert subtitle.text == hostile
    assert [heading.text for heading in page.find("h2")] == [hostile, hostile, "Provenance"]
    assert [heading.text for heading in page.find("h3")] == ["Arena"]


def test_contents_lead_to_the_headings(page: Any) -> None:
    [nav] = page.find("nav")
    targets = [link.attributes["href"].removeprefix("#") for link in nav.find("a")]
    assert targets == [heading.attributes["id"] for heading in page.find("h2")]
    assert len(set(targets)) == 3


def test_every_block_is_there(page: Any, hostile: str) -> None:
    cards = page.find("li", class_="card")
    assert [card.find("strong")[0].text for card in cards] == ["0.012", "1.2 %"]
    assert "good" in cards[0].text  # colour alone is not for everyone
    table, matrix = page.find("table")
    assert [cell.text for cell in table.find("td")] == [hostile, "1.2 %", "other", "–"]
    assert [cell.attributes["class"] for cell in matrix.find("td", class_="number")] == [
        "number shade-10",
        "number shade-3",
        "number shade-0",
        "number shade-0",
    ]
    [certificate] = page.find("article", class_="certificate")
    assert certificate.find("p", class_="verdict")[0].text == "VIOLATED"
    assert [term.text for term in certificate.find("dt")] == [hostile, "bound"]
    assert [item.text for item in page.find("dd")][-2:] == [hostile, "ab" * 32]


def test_tables_scroll_in_a_box_that_has_a_name_and_that_keys_reach(page: Any, hostile: str) -> None:
    boxes = page.find("div", class_="scroll")
    assert len(boxes) == len(page.find("table")) == 2
    names = {words.attributes["id"]: words.text for words in page.find("p", class_="caption")}
    assert [names[box.attributes["aria-labelledby"]] for box in boxes] == [hostile, hostile]
    assert len(names) == 2
    assert all(box.attributes["tabindex"] == "0" for box in boxes)


def test_figures_next_to_each_other_stand_side_by_side_in_both_styles(page: Any, hostile: str, svg_of: Make) -> None:
    [group] = page.find("div", class_="figures")
    for figure, alt in zip(group.find("figure"), (hostile, "The same bars"), strict=True):
        [light], [dark] = figure.find("img", class_="light"), figure.find("img", class_="dark")
        assert light.attributes["alt"] == dark.attributes["alt"] == alt
        assert "#0b6e99" in svg_of(light.attributes["src"])
        assert "#5db4dd" in svg_of(dark.attributes["src"])


def test_dialogues_are_data_that_reads_back(page: Any, hostile: str) -> None:
    [block] = page.find("script", type="application/json")
    data = json.loads(block.text)
    assert len(data["dialogues"]) == 51
    assert data["dialogues"][-1]["response"] == hostile * 100
    assert data["dialogues"][0]["collapsed"] is True
    assert data["dialogues"][1]["numbers"] == {"reward": 0.1, "cost": None}
    assert block.text.isascii()
    assert not set(block.text) & set("<>&")


def test_no_answer_becomes_markup(page: Any) -> None:
    assert len(page.find("script")) == 2
    assert all(image.attributes["src"].startswith("data:image/svg+xml;base64,") for image in page.find("img"))
    assert not [key for element in _all(page) for key in element.attributes if key.startswith("on")]


def test_nothing_outside_is_named(full_report: Report, page: Any, svg_of: Make) -> None:
    addresses = [value for element in _all(page) for key, value in element.attributes.items() if key in ("src", "href")]
    assert addresses
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?:", full_report.html())
    for image in page.find("img"):
        svg = svg_of(image.attributes["src"])
        assert svg.startswith("<svg")
        assert not re.search(r"href=\"(?!#)|<script|<image", svg)


def test_the_policy_names_the_style_and_the_program_of_the_page(page: Any) -> None:
    [policy] = [meta.attributes["content"] for meta in page.find("meta", http_equiv="Content-Security-Policy")]
    [style], programs = page.find("style"), page.find("script")
    [program] = [one for one in programs if "type" not in one.attributes]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": f"'sha256-{_digest(style.text)}'",
        "script-src": f"'sha256-{_digest(program.text)}'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert not [element for element in _all(page) if "style" in element.attributes]  # the policy forbids them


def test_a_conversation_is_shown_turn_by_turn(tree_of: Make) -> None:
    report = Report("Chat")
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
    report.add(Dialogues([Dialogue(turns, "bye", values={"reward": float("nan")})]))
    [block] = tree_of(report.html()).find("script", type="application/json")
    [dialogue] = json.loads(block.text)["dialogues"]
    assert dialogue["turns"] == [["user", "hello"], ["assistant", "hi"]]
    assert (dialogue["values"], dialogue["numbers"]) == ({"reward": "–"}, {"reward": None})


def test_halves_of_characters_are_replaced(tmp_path: Any) -> None:
    report = Report("Half \ud83d", "words")
    report.add(Dialogues([Dialogue("p", "half \udc00 a character")]))
    text = report.write(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Half \ufffd" in text
    assert "half \\udc00 a character" in text  # as data it stays what it was


def test_few_headings_have_no_contents(tree_of: Make) -> None:
    report = Report("Short")
    report.add(Section("One", [Text("words"), Section("Deep", [KeyValues("Deeper", {"a": 1})])]))
    page = tree_of(report.html())
    assert not page.find("nav")
    assert [element.text for element in page.find("h4")] == ["Deeper"]


def test_an_empty_report_is_a_page(tree_of: Make) -> None:
    assert tree_of(Report("Nothing").html()).find("h1")[0].text == "Nothing"


def _all(element: Any) -> list[Any]:
    return [element, *(found for child in element.children for found in _all(child))]


def _digest(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
