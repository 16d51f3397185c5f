"""The page in headless chromium: no error, no network, filters do what they say, phones and paper are served.

The programs below are the test's own and run in the page as it is written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from csrlhf.report import Card, Cards, Dialogue, Dialogues, Figure, Report, Table

HELPERS = """
const $ = (name) => document.querySelector(name);
const all = (name) => [...document.querySelectorAll(name)];
const choose = (select, value) => { select.value = value; select.dispatchEvent(new Event("change")); };
const search = () => $("input[type=search]");
const type = (words) => { search().value = words; search().dispatchEvent(new Event("input")); };
const filter = (key) => $(`select[data-filter="${key}"]`);
const answers = () => all(".dialogue").map((one) => one.querySelector(".turn:last-child").textContent);
"""


@pytest.fixture
def sample(make_dialogues: Callable[[int], list[Dialogue]]) -> str:
    report = Report("Samples")
    report.add(Dialogues(make_dialogues(50)))
    return report.html()


def test_it_renders_without_errors_and_asks_no_network(open_page: Callable[..., Any], full_page: str) -> None:
    tab = open_page(full_page)
    seen = tab.run(
        HELPERS + "return { shown: all('.dialogue').length, broken: window.broken ?? null,"
        " pictures: all('img.light').map((one) => one.complete && one.naturalWidth > 0 && one.offsetHeight > 100),"
        " big: parseFloat(getComputedStyle($('h1')).fontSize) };",
    )
    assert tab.errors == []
    assert (seen["shown"], seen["broken"]) == (20, None)
    assert seen["pictures"] == [True, True]
    assert seen["big"] == 28  # the style sheet is let in by the policy
    assert tab.requests[0].startswith("file:")
    assert [address[:40] for address in tab.requests[1:] if not address.startswith("data:image/svg+xml;")] == []


def test_a_program_in_the_page_that_is_not_ours_does_not_run(open_page: Callable[..., Any], sample: str) -> None:
    tab = open_page(sample.replace("</body>", "<script>window.broken = 1</script></body>"))
    assert tab.run("return window.broken ?? null;") is None
    [error] = tab.errors
    assert "Content Security Policy directive 'script-src" in error


def test_a_page_cannot_send_what_it_shows(open_page: Callable[..., Any], sample: str) -> None:
    tab = open_page(sample.replace("</main>", '<img src="https://example.invalid/answers"></main>'))
    [error] = tab.errors
    assert "Content Security Policy directive" in error
    assert "img-src data:" in error


def test_hostile_answers_are_words(open_page: Callable[..., Any], hostile: str) -> None:
    report = Report("Hostile")
    long = "x" * 10_000
    report.add(Dialogues([Dialogue(hostile, hostile, {hostile: "a"}), Dialogue("p", long, {hostile: hostile})]))
    tab = open_page(report.html())
    seen = tab.run(
        HELPERS + "const before = answers()[1].length; $('.said button').click();"
        "return { answers: answers(), before, broken: window.broken ?? null, images: all('img').length,"
        " options: [...$('select').options].map((one) => one.textContent) };",
    )
    assert (tab.errors, seen["broken"], seen["images"]) == ([], None, 0)
    assert seen["answers"] == ["answer" + hostile, "answer" + long]
    assert seen["before"] < 1500
    assert seen["options"] == ["all", f"{hostile} (1)", "a (1)"]


def test_filters_search_and_count(open_page: Callable[..., Any], sample: str) -> None:
    tab = open_page(sample)
    seen = tab.run(
        HELPERS + "const seen = {}; const count = () => $('.count').textContent;"
        "seen.filters = all('select[data-filter]').map((one) => one.dataset.filter); seen.start = count();"
        "choose(filter('verdict'), '=unsafe'); seen.unsafe = [count(), answers().length];"
        "choose(filter('category'), '=fiction'); seen.both = [count(), answers().map((one) => one.match(/\\d+/)[0])];"
        "type('NUMBER 18'); seen.words = [count(), answers().length];"
        "type('no such words'); seen.none = [count(), answers().length];"
        "all('.filters button').at(-1).click(); seen.clear = [count(), answers().length];"
        "return seen;",
    )
    assert tab.errors == []
    assert seen["filters"] == ["policy", "category", "verdict"]
    assert seen["start"] == "50 dialogues; the first 20 are shown."
    assert seen["unsafe"] == ["17 of 50 dialogues match.", 17]
    assert seen["both"] == ["4 of 50 dialogues match.", ["6", "18", "30", "42"]]
    assert seen["words"] == ["1 of 50 dialogues match.", 1]
    assert seen["none"] == ["None of 50 dialogues matches.", 0]
    assert seen["clear"] == [seen["start"], 20]


def test_order_and_more(open_page: Callable[..., Any], sample: str) -> None:
    tab = open_page(sample)
    seen = tab.run(
        HELPERS + "const numbers = () => answers().map((one) => Number(one.match(/\\d+/)[0])); const seen = {};"
        "choose($('.order'), '-0'); seen.reward = numbers().slice(0, 3);"
        "choose($('.order'), '+1'); $('.more').click(); seen.count = numbers().length;"
        "$('.more').click(); seen.cost = numbers(); seen.more = $('.more') === null;"
        "return seen;",
    )
    assert tab.errors == []
    assert seen["reward"] == [49, 48, 47]
    assert seen["count"] == 40
    assert seen["cost"] == [*range(49, 1, -1), 0, 1]  # the one without a cost is last
    assert seen["more"] is True


def test_unsafe_answers_are_collapsed_until_asked_for(open_page: Callable[..., Any], sample: str) -> None:
    tab = open_page(sample)
    seen = tab.run(
        HELPERS + "const hidden = all('details'); const first = hidden[0]; const inside = first.querySelector('.said');"
        "const before = [first.open, inside.checkVisibility()]; first.querySelector('summary').click();"
        "return { hidden: hidden.length, before, after: [first.open, inside.checkVisibility()] };",
    )
    assert (tab.errors, seen["hidden"]) == ([], 7)
    assert (seen["before"], seen["after"]) == ([False, False], [True, True])


def test_two_thousand_dialogues_stay_quick(open_page: Callable[..., Any]) -> None:
    report = Report("Many")
    rows = [Dialogue(f"prompt {i}", "words " * 200, {"kind": str(i % 7)}, values={"cost": i}) for i in range(2000)]
    report.add(Dialogues(rows))
    tab = open_page(report.html())
    seen = tab.run(
        HELPERS + "const nodes = () => document.getElementsByTagName('*').length; const opened = nodes();"
        "type('prompt 19'); choose(filter('kind'), '=3');"
        "return { count: $('.count').textContent, nodes: Math.max(opened, nodes()) };",
    )
    assert tab.errors == []
    matching = sum("prompt 19" in f"prompt {i}" and i % 7 == 3 for i in range(2000))
    assert seen["count"] == f"{matching} of 2000 dialogues match."
    assert seen["nodes"] < 1000  # what a browser spends its time on, whatever the machine


def test_a_phone_scrolls_no_page_sideways(open_page: Callable[..., Any], full_report: Report) -> None:
    full_report.add(Table([f"column {i}" for i in range(12)], [["words" * 4] * 12], "A wide table"))
    full_report.add(Figure("wide", lambda axes, palette: None, "Nothing", size=(12, 3)))
    tab = open_page(full_report.html(), width=390)
    seen = tab.run(
        HELPERS + "const box = all('.scroll').at(-1);"
        "const root = document.documentElement;"
        "return { page: root.scrollWidth, seen: root.clientWidth, window: innerWidth,"
        " box: [box.clientWidth, box.scrollWidth],"
        " wide: all('figure img.light').map((one) => one.getBoundingClientRect().right),"
        " small: all('button, select, input').filter((one) => one.offsetHeight && one.offsetHeight < 32).length };",
    )
    assert tab.errors == []
    assert seen["window"] == 390
    assert seen["page"] <= seen["seen"]
    assert seen["box"][0] <= 358 < seen["box"][1]
    assert max(seen["wide"]) <= 390
    assert seen["small"] == 0  # a finger hits every control


@pytest.mark.parametrize(
    ("count", "width", "rows"),
    [(4, 1200, [4]), (5, 1200, [5]), (6, 1200, [3, 3]), (4, 390, [2, 2]), (5, 390, [2, 2, 1])],
)
def test_cards_fill_their_rows(open_page: Callable[..., Any], count: int, width: int, rows: list[int]) -> None:
    report = Report("Cards")
    report.add(Cards([Card("some words " * index, index) for index in range(1, count + 1)]))
    tops = open_page(report.html(), width=width).run(
        HELPERS + "return all('.card .value').map((one) => Math.round(one.getBoundingClientRect().top));"
    )
    assert [tops.count(top) for top in sorted(set(tops))] == rows  # numbers stand on one line, however long the words


LOOK = (
    HELPERS
    + """
const style = getComputedStyle(document.body);
const look = () => ({ ground: style.backgroundColor, ink: style.color,
  light: $("img.light").checkVisibility(), dark: $("img.dark").checkVisibility(), button: $("#theme").textContent });
const before = look(); $("#theme").click();
return { before, after: look() };
"""
)
LIGHT_LOOK = {"ground": "rgb(255, 255, 255)", "ink": "rgb(28, 33, 39)", "light": True, "dark": False, "button": "Dark"}
DARK_LOOK = {"ground": "rgb(20, 23, 26)", "ink": "rgb(228, 231, 235)", "light": False, "dark": True, "button": "Light"}


@pytest.mark.parametrize(
    ("system", "before", "after"), [("light", LIGHT_LOOK, DARK_LOOK), ("dark", DARK_LOOK, LIGHT_LOOK)]
)
def test_the_system_chooses_and_the_button_changes(
    open_page: Callable[..., Any], full_page: str, system: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    tab = open_page(full_page, color_scheme=system)
    assert tab.run(LOOK) == {"before": before, "after": after}
    assert tab.errors == []


def test_without_javascript_all_but_the_dialogues_is_there(open_page: Callable[..., Any], full_page: str) -> None:
    tab = open_page(full_page, java_script_enabled=False)
    seen = tab.run(
        HELPERS + "return { words: $('noscript').textContent, shown: $('noscript').checkVisibility(),"
        " picture: $('img.light').checkVisibility(), button: $('#theme').checkVisibility() };"
    )
    words = "The 51 dialogues are shown by JavaScript, which is switched off here."
    assert seen["words"].removeprefix("<p>").removesuffix("</p>") == words
    assert (seen["shown"], seen["picture"], seen["button"]) == (True, True, False)


def test_paper_is_light_and_has_no_controls(open_page: Callable[..., Any], full_report: Report) -> None:
    full_report.add(Table([f"column {i}" for i in range(12)], [["words"] * 12], "A wide table"))
    tab = open_page(full_report.html(), width=718, color_scheme="dark")
    tab.page.emulate_media(media="print")
    look = (
        "const style = getComputedStyle(document.body);"
        "return { ground: style.backgroundColor, ink: style.color, wide: document.documentElement.scrollWidth,"
        " pictures: [$('img.light'), $('img.dark')].map((one) => one.checkVisibility()),"
        " controls: all('button, select, input, nav').filter((one) => one.checkVisibility()).length,"
        " dialogues: all('.dialogue').filter((one) => one.checkVisibility()).length };"
    )
    wanted = {"ground": "rgb(255, 255, 255)", "ink": "rgb(28, 33, 39)", "pictures": [True, False], "controls": 0}
    wanted |= {"dialogues": 20, "wide": 718}
    assert tab.run(HELPERS + look) == wanted
    assert tab.run(HELPERS + "document.documentElement.dataset.theme = 'dark';" + look) == wanted
    assert tab.page.pdf().startswith(b"%PDF")
