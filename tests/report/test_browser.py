"""The page in headless chromium: no error, filters do what they say, a phone and dark rooms are served.

The programs below are the test's own; they run in a copy of the page whose policy allows them as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.report import Dialogue, Dialogues, Figure, Report, Table

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


def test_it_renders_without_errors(browser: Any, full_report: Report) -> None:
    seen = browser.run(
        full_report.html(),
        HELPERS + "return { shown: all('.dialogue').length, broken: window.broken ?? null,"
        " pictures: all('img.light').map((one) => one.complete && one.naturalWidth > 0 && one.offsetHeight > 100),"
        " big: parseFloat(getComputedStyle($('h1')).fontSize) };",
    )
    assert (seen["errors"], seen["log"]) == ([], [])
    assert (seen["shown"], seen["broken"]) == (20, None)
    assert seen["pictures"] == [True, True]
    assert seen["big"] == 28  # the style sheet is let in by the policy


def test_a_program_in_the_page_that_is_not_ours_does_not_run(browser: Any, sample: str) -> None:
    page = sample.replace("</body>", "<script>window.broken = 1</script></body>")
    seen = browser.run(page, "return { broken: window.broken ?? null };")
    assert seen["broken"] is None
    assert seen["errors"] == ["policy: script-src-elem"]


def test_hostile_answers_are_words(browser: Any, hostile: str) -> None:
    report = Report("Hostile")
    long = "x" * 10_000
    report.add(Dialogues([Dialogue(hostile, hostile, {hostile: "a"}), Dialogue("p", long, {hostile: hostile})]))
    seen = browser.run(
        report.html(),
        HELPERS + "const before = answers()[1].length; $('.said button').click();"
        "return { answers: answers(), before, broken: window.broken ?? null, images: all('img').length,"
        " options: [...$('select').options].map((one) => one.textContent) };",
    )
    assert (seen["errors"], seen["broken"], seen["images"]) == ([], None, 0)
    assert seen["answers"] == ["answer" + hostile, "answer" + long]
    assert seen["before"] < 1500
    assert seen["options"] == ["all", f"{hostile} (1)", "a (1)"]


def test_filters_search_and_count(browser: Any, sample: str) -> None:
    seen = browser.run(
        sample,
        HELPERS + "const seen = {}; const count = () => $('.count').textContent;"
        "seen.filters = all('select[data-filter]').map((one) => one.dataset.filter); seen.start = count();"
        "choose(filter('verdict'), '=unsafe'); seen.unsafe = [count(), answers().length];"
        "choose(filter('category'), '=fiction'); seen.both = [count(), answers().map((one) => one.match(/\\d+/)[0])];"
        "type('NUMBER 18'); seen.words = [count(), answers().length];"
        "type('no such words'); seen.none = [count(), answers().length];"
        "all('.filters button').at(-1).click(); seen.clear = [count(), answers().length];"
        "return seen;",
    )
    assert seen["errors"] == []
    assert seen["filters"] == ["policy", "category", "verdict"]
    assert seen["start"] == "50 dialogues; the first 20 are shown."
    assert seen["unsafe"] == ["17 of 50 dialogues match.", 17]
    assert seen["both"] == ["4 of 50 dialogues match.", ["6", "18", "30", "42"]]
    assert seen["words"] == ["1 of 50 dialogues match.", 1]
    assert seen["none"] == ["None of 50 dialogues matches.", 0]
    assert seen["clear"] == [seen["start"], 20]


def test_order_and_more(browser: Any, sample: str) -> None:
    seen = browser.run(
        sample,
        HELPERS + "const numbers = () => answers().map((one) => Number(one.match(/\\d+/)[0])); const seen = {};"
        "choose($('.order'), '-0'); seen.reward = numbers().slice(0, 3);"
        "choose($('.order'), '+1'); $('.more').click(); seen.count = numbers().length;"
        "$('.more').click(); seen.cost = numbers(); seen.more = $('.more') === null;"
        "return seen;",
    )
    assert seen["errors"] == []
    assert seen["reward"] == [49, 48, 47]
    assert seen["count"] == 40
    assert seen["cost"] == [*range(49, 1, -1), 0, 1]  # the one without a cost is last
    assert seen["more"] is True


def test_unsafe_answers_are_collapsed_until_asked_for(browser: Any, sample: str) -> None:
    seen = browser.run(
        sample,
        HELPERS + "const hidden = all('details'); const first = hidden[0]; const inside = first.querySelector('.said');"
        "const before = [first.open, inside.checkVisibility()]; first.querySelector('summary').click();"
        "return { hidden: hidden.length, before, after: [first.open, inside.checkVisibility()] };",
    )
    assert (seen["errors"], seen["hidden"]) == ([], 7)
    assert (seen["before"], seen["after"]) == ([False, False], [True, True])


def test_two_thousand_dialogues_stay_quick(browser: Any) -> None:
    report = Report("Many")
    rows = [Dialogue(f"prompt {i}", "words " * 200, {"kind": str(i % 7)}, values={"cost": i}) for i in range(2000)]
    report.add(Dialogues(rows))
    seen = browser.run(
        report.html(),
        HELPERS + "const start = performance.now(); type('prompt 19'); choose(filter('kind'), '=3');"
        "return { took: performance.now() - start, count: $('.count').textContent,"
        " nodes: document.getElementsByTagName('*').length };",
    )
    assert seen["errors"] == []
    assert seen["count"].startswith("16 of 2000 dialogues match")
    assert seen["nodes"] < 1000
    assert seen["took"] < 2000


def test_a_phone_scrolls_no_page_sideways(browser: Any, full_report: Report) -> None:
    full_report.add(Table([f"column {i}" for i in range(12)], [["words" * 4] * 12], "A wide table"))
    full_report.add(Figure("wide", lambda axes, palette: None, "Nothing", size=(12, 3)))
    seen = browser.run(
        full_report.html(),
        HELPERS + "const box = all('.scroll').at(-1);"
        "const root = document.documentElement;"
        "return { page: root.scrollWidth, seen: root.clientWidth, window: innerWidth,"
        " box: [box.clientWidth, box.scrollWidth],"
        " wide: all('figure img.light').map((one) => one.getBoundingClientRect().right),"
        " small: all('button, select, input').filter((one) => one.offsetHeight && one.offsetHeight < 32).length };",
        width=390,
    )
    assert seen["errors"] == []
    assert seen["window"] == 390
    assert seen["page"] <= seen["seen"]
    assert seen["box"][0] <= 358 < seen["box"][1]
    assert max(seen["wide"]) <= 390
    assert seen["small"] == 0  # a finger hits every control


LOOK = (
    HELPERS
    + """
const style = getComputedStyle(document.body);
const look = () => ({ ground: style.backgroundColor, ink: style.color,
  light: $("img.light").checkVisibility(), dark: $("img.dark").checkVisibility(), button: $("#theme").textContent });
const before = look(); $("#theme").click();
return { before, system: matchMedia("(prefers-color-scheme: dark)").matches, after: look(), kept: localStorageSize() };
function localStorageSize() { try { return localStorage.length; } catch { return 0; } }
"""
)
LIGHT_LOOK = {"ground": "rgb(255, 255, 255)", "ink": "rgb(28, 33, 39)", "light": True, "dark": False, "button": "Dark"}
DARK_LOOK = {"ground": "rgb(20, 23, 26)", "ink": "rgb(228, 231, 235)", "light": False, "dark": True, "button": "Light"}


@pytest.mark.parametrize(
    ("dark", "before", "after"), [(False, LIGHT_LOOK, DARK_LOOK), (True, DARK_LOOK, LIGHT_LOOK)], ids=["light", "dark"]
)
def test_the_system_chooses_and_the_button_changes(
    browser: Any, full_report: Report, dark: bool, before: dict[str, Any], after: dict[str, Any]
) -> None:
    seen = browser.run(full_report.html(), LOOK, dark=dark)
    if seen["system"] is not dark:
        pytest.skip("this chromium cannot be told what colours the system prefers")
    assert (seen["errors"], seen["before"], seen["after"], seen["kept"]) == ([], before, after, 0)


def test_it_can_be_printed(browser: Any, full_report: Report, tmp_path: Path) -> None:
    path = full_report.write(tmp_path / "report.html")
    browser.call("--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}", path.as_uri())
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
