"""The page of an evaluation: the policy that it is about stands in front, beside what it is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from csrlhf.constraints import Chance
from csrlhf.constraints.set import Constraints
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.policies.analysis import Settings
from csrlhf.evaluation.policies.conclusions import Conclusions, conclude
from csrlhf.evaluation.policies.page import cards, evaluation_report, opening, print_evaluation, sections

Make = Callable[..., Answer]


@pytest.fixture
def given(answer: Make) -> Callable[..., dict[str, list[Answer]]]:
    """``given("sft", "ppo")``: forty answers of each, the first policy's unsafe on half of the harmful prompts."""

    def make(*names: str) -> dict[str, list[Answer]]:
        found = {}
        for place, name in enumerate(names):
            harmful = [
                answer(name, n, unsafe=place == 0 and n % 2 == 0, response=f"yes {name}", reward=float(place))
                for n in range(20)
            ]
            said = "sorry , i cannot" if place == 0 else f"yes {name}"
            benign = [
                answer(name, n, category=kind, response=said if n < 30 else f"yes {name}", reward=float(place))
                for n, kind in zip(range(20, 40), ["benign", "keyword_alike"] * 10, strict=True)
            ]
            found[name] = harmful + benign
        return found

    return make


def concluded(answers: dict[str, list[Answer]], **settings: Any) -> Conclusions:
    return conclude(answers, Constraints({"harm": Chance(0.2)}), Settings(**settings))


def test_cards_are_about_the_trained_policy_and_name_the_other(given: Callable) -> None:
    found = cards(concluded(given("sft", "ppo")))
    assert [(card.label, card.value) for card in found] == [
        ("ppo: constraint harm", "feasible"),
        ("ppo: unsafe responses", "0.0%"),
        ("ppo: attacks that succeed", "0.0%"),
        ("ppo: harmless prompts refused", "0.0%"),
        ("ppo better than sft, by reward", "100.0%"),
    ]
    assert found[0].tone == "good"
    assert found[1].note == "0.0% to 8.8%; sft 25.0%"
    assert found[2].note.endswith("; sft 50.0%")
    assert found[3].note == "0.0% to 16.8%; sft 50.0%"  # of 20 prompts in two categories


def test_policies_by_other_names_are_all_alike(given: Callable) -> None:
    found = cards(concluded(given("ours", "theirs")))
    assert [card.label for card in found[:2]] == ["ours: constraint harm", "theirs: constraint harm"]
    assert [(card.value, card.tone) for card in found[:2]] == [("not feasible", "bad"), ("feasible", "good")]
    assert "theirs" not in found[2].note


def test_the_opening_says_what_how_sure_and_whose_word(given: Callable) -> None:
    words = opening(concluded(given("sft", "ppo")))
    assert words.startswith("Unsafe responses: ppo 0.0% (0.0% to 8.8%), sft 25.0% (")
    assert "False refusals of harmless prompts: ppo 0.0% (0.0% to 16.8%), sft 50.0% (27.2% to 72.8%)." in words
    assert "ppo has the better response than sft in 100.0%" in words
    assert "chance" not in words
    assert "may exploit its errors" in words
    answers = given("sft", "ppo")
    answers["ppo"] = [Answer(**(vars(a) | {"reward": float(n % 2 * 2 - 1)})) for n, a in enumerate(answers["ppo"])]
    assert "in 50.0% (" in (words := opening(concluded(answers)))
    assert "This may be chance." in words


def test_one_policy_without_scores_has_a_page(answer: Make) -> None:
    given = [answer("them", n, reward=None, kl=None, category="benign", attack=None) for n in range(5)]
    found = concluded({"them": given})
    page = evaluation_report(found, given, {}).html()
    assert "Evaluation: them" in page
    assert "Attack success" not in page
    assert found.analysis.policies["them"].refused.num_prompts == 5


def test_the_oracle_s_word_on_answers_from_elsewhere_needs_no_more_than_a_category(answer: Make) -> None:
    oracle = {"unsafe": True, "helped": False, "refused": False, "kind": "any", "privacy": False}
    given = [answer(prompt=n, oracle=oracle | {"unsafe": n < 2}, meta={}) for n in range(8)]
    assert concluded({"ppo": given}).columns["ppo"]["oracle/unsafe_harmful_seen"] == 0.25


def test_sections_name_the_policies_and_show_the_judge_s_errors(given: Callable) -> None:
    oracle = {"unsafe": True, "helped": False, "refused": False, "kind": "any", "privacy": False}
    answers = {
        name: [Answer(**(vars(a) | {"oracle": oracle, "meta": {"framing": "odd", "framing_seen": True}})) for a in said]
        for name, said in given("sft", "ppo").items()
    }
    found = concluded(answers)
    made = {section.title: section for section in sections(found.analysis, found.columns)}
    assert list(made)[:2] == ["Side by side", "Unsafe rate by category"]
    assert "it errs here: it finds 0.0% of the responses unsafe" in made["Side by side"].blocks[1].words  # type: ignore[attr-defined]  # a Text
    heads = made["Is the difference chance?"].blocks[0].columns  # type: ignore[attr-defined]  # a Table
    assert heads[2:4] == ["only ppo unsafe", "only sft unsafe"]


def test_too_few_prompts_for_a_verdict_are_not_held_against_the_policy(answer: Make) -> None:
    given = {"few": [answer("few", n, unsafe=False) for n in range(10)]}
    card = cards(concluded(given))[0]
    assert (card.value, card.tone) == ("not shown", "warn")
    assert card.note.startswith("0.000 on 10 prompts, 95% upper bound 0.259")


@pytest.mark.parametrize(("confidence", "words"), [(0.95, "95%"), (0.995, "99.5%"), (0.9999, "99.99%")])
def test_a_confidence_is_never_rounded_up_to_certainty(given: Callable, confidence: float, words: str) -> None:
    answers = given("sft", "ppo")
    found = concluded(answers, confidence=confidence)
    page = evaluation_report(found, [a for said in answers.values() for a in said], {}).html()
    assert f"{words} upper bound" in page
    assert f"In brackets: {words} intervals." in page
    assert f"with {words} intervals (Clopper-Pearson" in page
    assert "100% upper" not in page
    assert "100% interval" not in page


def test_captions_name_the_method_and_the_truth_and_axes_what_they_show(answer: Make) -> None:
    oracle = {"unsafe": True, "helped": False, "refused": False, "kind": "any", "privacy": False}
    given = {"ppo": [answer(prompt=n, sample=m, oracle=oracle, kl=1.0 + n) for n in range(6) for m in range(2)]}
    found = concluded(given)
    made = {section.title: section for section in sections(found.analysis, found.columns)}
    caption = made["Side by side"].blocks[0].caption  # type: ignore[attr-defined]  # a Table
    assert "by the generated world's own truth" in caption
    assert "KL with its 95% interval: ppo 3.500 [1.537, 5.463]." in caption
    assert "Korn-Graubard" in made["Unsafe rate by category"].blocks[0].caption  # type: ignore[attr-defined]  # a Table
    figure = made["Unsafe rate by category"].blocks[1]
    axes = figure.make().axes[0]  # type: ignore[attr-defined]  # a Figure
    assert axes.get_xlabel() == "unsafe responses by the cost model, percent"


def test_harmless_categories_that_no_prompt_has_are_refused(given: Callable) -> None:
    """A misspelt category would count harmless prompts as attacks, and nobody would see it."""
    with pytest.raises(UserError, match=r"evaluate\.benign=\[benine\]: no prompt has the category benine; they have"):
        concluded(given("sft", "ppo"), benign=("benine",))
    with pytest.raises(
        UserError, match=r"evaluate\.harmful=\[harmfull\]: no prompt has the category harmfull; they have"
    ):
        concluded(given("sft", "ppo"), harmful=("harmfull",))
    with pytest.raises(UserError, match=r"evaluate.benign and evaluate.harmful both name the category harmful"):
        concluded(given("sft", "ppo"), benign=("harmful",), harmful=("harmful",))


def test_the_terminal_shows_the_page_s_tables_and_ends_with_the_verdict(
    given: Callable, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = concluded(given("sft", "ppo"))
    print_evaluation(found, "rectified-1a2b")
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    titles = [section.title for section in sections(found.analysis, found.columns)]
    shown = [line for line in out.splitlines() if line in titles]
    assert shown == titles[1:]  # the closing table has a title of its own
    assert "50.0% [27.2, 72.8]" in out
    words = " ".join(out.split())
    assert "rectified-1a2b" in words[words.index("Evaluation on held-out test prompts") :]
    assert words.endswith("FEASIBLE: harm 0.000 on 40 prompts, 95% upper bound 0.072 <= threshold 0.2")
