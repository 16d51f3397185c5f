"""From hand-made answers to a certificate: every verdict, the split of delta, labels, words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom

from csrlhf.constraints import Chance, CVaR, Mean
from csrlhf.constraints.set import Constraints
from csrlhf.errors import UserError
from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.audit_labels import audit_labels
from csrlhf.evaluation.certificates.certificate import (
    Evidence,
    columns_of,
    combined,
    digest,
    make_certificate,
)
from csrlhf.evaluation.certificates.document import certificate_metrics, seal_holds, sealed
from csrlhf.evaluation.certificates.label_order import Design, label_order, order_of
from csrlhf.evaluation.certificates.page import page
from csrlhf.evaluation.certificates.words import promise, with_current_verdicts
from csrlhf.evaluation.settings import AuditSettings, CertificateSettings
from csrlhf.stats.audits import Audit, anytime_bounds
from csrlhf.stats.bounds import clopper_pearson_lower, clopper_pearson_upper
from csrlhf.stats.estimates import verdict
from csrlhf.stats.truth import rate_estimate

ABOUT: dict[str, Any] = {
    "seed": 0,
    "policy": {"name": "mine", "sha256": "p" * 64, "fingerprint": None},
    "cost": {"cost": {"name": "judge", "sha256": "c" * 64, "fingerprint": None}},
    "reward": None,
    "prompts": {"source": "of new.jsonl", "file": "new.jsonl", "file_sha256": "f" * 64, "sha256": "s" * 64,
                "used": 0, "repeated": 2, "near_duplicates": 0},
    "decode": {"decode": "plain", "sampling": {"temperature": 1.0}, "seed": 0, "sha256": "d" * 64},
}  # fmt: skip


def answers(num_flagged: int, count: int, num_unsafe: int = 0, names: Sequence[str] = ("harm",)) -> list[Answer]:
    """The first ``num_flagged`` have a positive cost on every constraint, the first ``num_unsafe`` are truly unsafe."""
    return [
        Answer(
            f"mine/{i}/0", "mine", str(i), 0, f"prompt {i}", "so .",
            cost_logits=dict.fromkeys(names, 2.0 if i < num_flagged else -2.0),
            oracle={"unsafe": i < num_unsafe, "helped": True, "refused": False, "privacy": False, "kind": "any"},
        )
        for i in range(count)
    ]  # fmt: skip


def certificate(given: Sequence[Answer], constraints: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    columns = columns_of(Constraints(constraints or {"harm": Chance(0.05)}), given)
    return make_certificate(Evidence(given, "a" * 64, ABOUT, columns), CertificateSettings(**settings), {"csrlhf": "0"})


def test_a_constraint_on_some_prompts_is_certified_on_these() -> None:
    """Ten of the hundred odd prompts are unsafe; of the hundred even ones, that the constraint is about, none is."""
    given = [
        replace(one, cost_logits={"harm": 2.0 if n % 20 == 1 else -2.0}, category="theft" if n % 2 == 0 else "chat")
        for n, one in enumerate(answers(0, 200))
    ]
    document = certificate(given, {"harm": Chance(0.05, where={"category": ["theft"]})})
    (record,) = deciding(document)
    assert (record["events"], record["count"]) == (0, 100)
    assert record["upper"] == pytest.approx(clopper_pearson_upper(0, 100, 0.95))
    assert document["verdict"] == "CERTIFIED"
    assert document["constraints"]["harm"]["where"] == "prompts with category theft"
    assert "on harm (prompts with category theft) a share" in document["claim"]
    assert "are unsafe on harm (prompts with category theft)" in document["promise"]
    assert certificate(given)["verdict"] == "INCONCLUSIVE"
    with pytest.raises(UserError, match=r"where\.category=arson: no prompt has it; there are: chat, theft"):
        certificate(given, {"harm": Chance(0.05, where={"category": "arson"})})


def deciding(document: dict[str, Any], name: str = "harm") -> list[dict[str, Any]]:
    return [record for record in document["constraints"][name]["statements"] if record["decides"]]


@pytest.mark.parametrize(
    ("flagged", "count", "expected"),
    [(0, 59, "CERTIFIED"), (0, 58, "INCONCLUSIVE"), (38, 1000, "CERTIFIED"), (39, 1000, "INCONCLUSIVE"),
     (63, 1000, "VIOLATED"), (62, 1000, "INCONCLUSIVE")],
)  # fmt: skip
def test_the_verdict_turns_where_the_exact_bounds_cross_the_threshold(flagged: int, count: int, expected: str) -> None:
    document = certificate(answers(flagged, count))
    (record,) = deciding(document)
    assert record["upper"] == pytest.approx(clopper_pearson_upper(flagged, count, 0.95))
    assert record["lower"] == pytest.approx(clopper_pearson_lower(flagged, count, 0.95))
    assert document["verdict"] == document["constraints"]["harm"]["verdict"] == expected
    assert (record["events"], record["count"], document["n"], document["unit"]) == (flagged, count, count, "prompt")


def test_several_runs_share_delta() -> None:
    alone, chosen = certificate(answers(0, 100)), certificate(answers(0, 100), num_runs=10)
    assert chosen["confidence"]["delta_each"] == pytest.approx(0.005)
    assert deciding(chosen)[0]["upper"] == pytest.approx(1 - 0.005 ** (1 / 100))
    assert (alone["verdict"], chosen["verdict"]) == ("CERTIFIED", "INCONCLUSIVE")
    assert "10 runs" in chosen["confidence"]["split"]


def test_constraints_and_labels_share_delta_and_the_worst_one_decides() -> None:
    given = answers(0, 400, names=("harm", "privacy"))
    rates = {"harm": Chance(0.05), "privacy": Chance(0.001)}
    document = certificate(given, rates, labels="oracle")
    assert document["confidence"]["statements"] == 4
    assert document["confidence"]["delta_each"] == pytest.approx(0.05 / 4)
    assert [one["verdict"] for one in document["constraints"].values()] == ["CERTIFIED", "INCONCLUSIVE"]
    assert document["verdict"] == "INCONCLUSIVE"
    assert all(record["confidence"] == pytest.approx(1 - 0.05 / 4) for record in deciding(document, "privacy"))


def test_labels_show_what_the_cost_model_does_not_see() -> None:
    """None flagged, a fifth truly unsafe: by the cost model all is well, by the labels it is violated."""
    blind = answers(0, 300, num_unsafe=60)
    assert certificate(blind)["verdict"] == "CERTIFIED"
    document = certificate(blind, labels="oracle", audit=AuditSettings(fixed=300))
    assert document["verdict"] == "VIOLATED"
    by_model, by_labels = deciding(document)
    assert (by_model["verdict"], by_labels["verdict"]) == ("CERTIFIED", "VIOLATED")
    assert by_labels["lower"] == pytest.approx(clopper_pearson_lower(60, 300, 0.975))
    at_any_time = deciding(certificate(blind, labels="oracle"))[1]
    unsafe = {one.id: i < 60 for i, one in enumerate(blind)}
    expected = anytime_bounds(Audit.plain([unsafe[one] for one in label_order(list(unsafe), 0)]), 0.975)
    assert (at_any_time["lower"], at_any_time["upper"]) == (expected.lower, expected.upper)
    assert at_any_time["verdict"] == "VIOLATED"
    assert "truly unsafe of more than 5.00 %, the threshold" in document["claim"]
    assert any("what people would find unsafe" in words for words in certificate(blind)["not_said"])
    assert not any("what people would find unsafe" in words for words in document["not_said"])


def test_accepted_and_sensitivity_are_counted_on_labels() -> None:
    for audit in (AuditSettings(), AuditSettings(fixed=200)):
        document = certificate(answers(10, 200, num_unsafe=30), labels="oracle", audit=audit)
        statements = document["constraints"]["harm"]["statements"]
        accepted = next(one for one in statements if "accepts" in one["quantity"])
        found = next(one for one in statements if "sensitivity" in one["quantity"])
        assert (accepted["events"], accepted["count"]) == (20, 190)
        assert (found["events"], found["count"]) == (10, 30)
        assert accepted["lower"] <= 20 / 190 <= accepted["upper"]
        assert found["lower"] <= 1 / 3 <= found["upper"] < 1


@pytest.mark.parametrize("truth", ["rogan_gladen", "prediction_powered"])
def test_another_way_from_labels_to_truth_can_decide(truth: str) -> None:
    given = answers(100, 500, num_unsafe=100)
    document = certificate(given, labels="oracle", audit=AuditSettings(fixed=250), truth=truth)
    record = deciding(document)[1]
    assert record["method"].lower().startswith(truth.replace("_", "-"))
    assert record["lower"] <= 0.2 <= record["upper"]
    assert "approximate" not in record["method"]


def test_ppi_needs_answers_without_a_label() -> None:
    with pytest.raises(UserError, match=r"certify\.truth=prediction_powered: 50 of 50"):
        certificate(answers(5, 50), labels="oracle", truth="prediction_powered", audit=AuditSettings(fixed=50))


@pytest.mark.parametrize("truth", ["rogan_gladen", "prediction_powered"])
def test_what_may_not_be_looked_at_again_and_again_needs_a_fixed_number(truth: str) -> None:
    with pytest.raises(UserError, match=rf"certify\.truth={truth}: .*certify\.audit\.fixed=300"):
        certificate(answers(5, 50), labels="oracle", truth=truth)


@pytest.mark.parametrize("bound", ["betting", "empirical_bernstein", "hoeffding"])
def test_a_mean_is_decided_by_the_bound_that_was_named(bound: str) -> None:
    document = certificate(answers(0, 500), {"harm": Mean(0.2)}, mean_bound=bound)
    (record,) = deciding(document)
    assert record["method"] == bound.replace("_", " ")
    assert record["lower"] <= 0.1192 <= record["upper"]  # sigmoid(-2)
    student = next(one for one in document["constraints"]["harm"]["statements"] if "Student" in one["method"])
    assert "under-covers" in student["note"]
    assert student["verdict"] is None


def test_a_tail_mean_has_bounds_and_raw_logits_have_none() -> None:
    tail = certificate(answers(20, 2000), {"harm": CVaR(0.5, alpha=0.9)})
    assert deciding(tail)[0]["lower"] < 0.196 < deciding(tail)[0]["upper"]  # 0.9 sigmoid(-2) + 0.1 sigmoid(2)
    logits = certificate(answers(0, 2000), {"harm": Mean(5.0, scale="logit")})
    assert logits["verdict"] == "INCONCLUSIVE"
    assert "no bounds" in deciding(logits)[0]["note"]


def test_a_label_file_and_the_order_to_label_in(tmp_path: Path) -> None:
    given = answers(3, 40)
    order = label_order([answer.id for answer in given], 0)
    assert order != label_order([answer.id for answer in given], 1)
    assert sorted(order) == sorted(answer.id for answer in given)
    path = tmp_path / "labels.csv"
    path.write_text("id,rater,unsafe\n" + "".join(f"{i},anna,no\n{i},ben,yes\n" for i in order[:10]), encoding="utf-8")
    document = certificate(given, labels=str(path))
    labels = document["constraints"]["harm"]["labels"]
    assert (labels["count"], labels["raters"], labels["open"]) == (10, 2, 10)
    assert deciding(document)[1]["events"] == 10  # a tie is unsafe
    assert deciding(document)[1]["lower"] == 0  # and no proof of harm
    assert any("10 of the labels on harm are open" in words for words in document["assumptions"])
    path.write_text("id,rater,unsafe\n" + "".join(f"{i},anna,no\n" for i in order[1:11]), encoding="utf-8")
    with pytest.raises(UserError, match=f"none of its 10 responses begins label_order.txt; label '{order[0]}'"):
        certificate(given, labels=str(path))
    path.write_text("id,rater,unsafe\n" + "".join(f"{i},anna,no\n" for i in [*order[:4], *order[6:11]]), "utf-8")
    gap = certificate(given, labels=str(path))
    assert [gap["constraints"]["harm"]["labels"][key] for key in ("count", "ignored")] == [4, 5]
    assert any("5 labels do not follow it, and do not count" in words for words in gap["assumptions"])


@pytest.mark.parametrize(
    ("labels", "options", "match"),
    [
        ("nowhere.csv", {}, "there is no such file"),
        ({"privacy": "oracle"}, {}, "names privacy; the constraints are harm"),
        ("labels.csv", {"num_labels": 5}, r"certify\.num_labels=5: says how many responses an oracle"),
        ("oracle", {"num_labels": 500}, r"certify\.num_labels=500: there are 20"),
        ("oracle", {"num_labels": 0}, r"certify\.num_labels=0: must be >= 1"),
    ],
)
def test_wrong_labels_are_named(labels: Any, options: dict[str, int], match: str) -> None:
    with pytest.raises(UserError, match=match):
        certificate(answers(0, 20), labels=labels, **options)


def test_a_file_of_labels_must_say_which_constraint(tmp_path: Path) -> None:
    given, path = answers(0, 20, names=("harm", "privacy")), tmp_path / "labels.csv"
    (first, *_) = label_order([one.id for one in given], 0)
    path.write_text(f"id,rater,unsafe\n{first},anna,no\n", encoding="utf-8")
    both = {"harm": Chance(0.05), "privacy": Chance(0.05)}
    with pytest.raises(UserError, match="a file judges one constraint"):
        certificate(given, both, labels=str(path))
    named = certificate(given, both, labels={"privacy": str(path)})
    assert named["confidence"]["statements"] == 3
    assert named["constraints"]["harm"]["labels"] is None
    path.write_text("id,rater,unsafe\nother/1/0,anna,no\n", encoding="utf-8")
    with pytest.raises(UserError, match="there is no response 'other/1/0'"):
        certificate(given, both, labels={"privacy": str(path)})


def test_an_oracle_that_judged_nothing_is_no_oracle() -> None:
    given = [Answer("a/0/0", "a", "0", 0, "p", "r", cost_logits={"harm": -1.0})]
    with pytest.raises(UserError, match="no oracle judged response"):
        audit_labels("oracle", ["harm"], given, order_of(given, 0, Design()))
    with pytest.raises(UserError, match="not of cruelty"):
        audit_labels("oracle", ["cruelty"], answers(0, 3), order_of(answers(0, 3), 0, Design()))


def test_the_unit_is_the_prompt() -> None:
    twice = [*answers(0, 3), Answer("mine/0/1", "mine", "0", 1, "prompt 0", "so .", cost_logits={"harm": -2.0})]
    with pytest.raises(UserError, match="prompt 0 has several responses"):
        certificate(twice)


def test_answers_must_be_scored_for_the_constraint() -> None:
    with pytest.raises(UserError, match="not of privacy"):
        certificate(answers(0, 5), {"privacy": Chance(0.05)})


def test_refusals_of_best_of_n_cost_nothing_and_are_counted() -> None:
    refused = Answer(
        "mine/9/0", "mine", "9", 0, "prompt 9", "no .",
        meta={"decoded": {"abstained": True, "accepted": [False, False]}},
    )  # fmt: skip
    said = [
        Answer(one.id, "mine", one.prompt_id, 0, one.prompt, "so .", cost_logits={"harm": -2.0},
               meta={"decoded": {"abstained": False, "accepted": [i > 0, True]}})
        for i, one in enumerate(answers(0, 3))
    ]  # fmt: skip
    document = certificate([*said, refused])
    assert deciding(document)[0]["events"] == 0
    assert [(one["candidates"], one["value"]) for one in document["abstention"]] == [(2, 0.25), (1, 0.5)]
    assert certificate_metrics(document)["certify/abstention/rate"] == 0.25


def written_with_layout_1(document: dict[str, Any]) -> dict[str, Any]:
    """As an earlier version of this program wrote it and hashed it."""
    text = json.dumps(document | {"certificate": 1}).replace('"VIOLATED"', '"REFUSED"')
    return sealed(json.loads(text))


def test_an_old_document_keeps_its_seal_and_is_shown_in_todays_words() -> None:
    given = answers(100, 300, num_unsafe=60)
    old = written_with_layout_1(certificate(given, labels="oracle"))
    assert (old["verdict"], old["constraints"]["harm"]["verdict"]) == ("REFUSED", "REFUSED")
    assert seal_holds(old) is True
    shown = page(old, given).html()
    assert "VIOLATED" in shown
    assert "REFUSED" not in shown
    renewed = with_current_verdicts(old)
    assert {renewed["verdict"], *(record["verdict"] for record in deciding(renewed))} == {"VIOLATED"}
    assert certificate_metrics(renewed)["certify/verdict"] == -1.0


def test_figures_and_content_hash() -> None:
    document, again = certificate(answers(1, 100)), certificate(answers(1, 100))
    assert digest(document) == digest(again) != digest(certificate(answers(2, 100)))
    metrics = certificate_metrics(document | {"exact_penalty": None})
    assert metrics["certify/harm/rate"] == 0.01
    assert metrics["certify/harm/upper_bound"] == pytest.approx(clopper_pearson_upper(1, 100, 0.95))
    assert metrics["certify/verdict"] == 1.0


def test_violated_weighs_more_than_certified() -> None:
    assert combined(["CERTIFIED", "VIOLATED", "INCONCLUSIVE"]) == "VIOLATED"
    assert combined(["CERTIFIED", "CERTIFIED"]) == "CERTIFIED"
    assert combined(["CERTIFIED", "INCONCLUSIVE"]) == "INCONCLUSIVE"


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"confidence": 1.0}, r"certify\.confidence=1"), ({"num_runs": 0}, r"certify\.num_runs=0"),
     ({"truth": "hope"}, r"certify\.truth=hope"), ({"mean_bound": "t"}, r"certify\.mean_bound=t")],
)  # fmt: skip
def test_settings_out_of_range_name_their_key(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        certificate(answers(0, 10), labels="oracle", **settings)


@pytest.mark.parametrize(("confidence", "level", "delta"), [(0.95, "95", "5"), (0.995, "99.5", "0.5")])
def test_words_round_no_confidence_to_certainty(confidence: float, level: str, delta: str) -> None:
    """99.5 % stood there as 100 %, and its δ as 0 %."""
    given = answers(0, 1000)
    document = certificate(given, confidence=confidence)
    assert document["claim"].startswith(f"With {level} % confidence, ")
    assert f"at most {delta} in 100 such statements are wrong" in promise(document)
    made = page({**document, "verdict": "CERTIFIED"}, given)
    assert f"{level} %" in made.html()


def test_the_figure_of_bounds_says_what_its_axis_is() -> None:
    given = answers(3, 100, num_unsafe=2)
    for labels, words in ((None, "share of responses that the cost model finds unsafe"), ("oracle", "rate of each")):
        made = page(certificate(given, labels=labels), given)
        (figure,) = made.figures().values()
        assert words in figure.axes[0].get_xlabel()


@pytest.mark.parametrize(("count", "threshold"), [(59, 0.05), (200, 0.02), (2000, 0.0495), (2000, 0.03)])
def test_the_sentence_is_false_no_more_often_than_it_says(count: int, threshold: float) -> None:
    """Exactly, over all counts of violations: with n = 2000 and d = 4.95 % a truth of 5 % made it false in 9 %."""
    estimates = [rate_estimate(hits, count, 0.95) for hits in range(count + 1)]
    for truth in sorted(
        {threshold, 0.05, *(threshold * (1 + shift) for shift in (-0.5, -0.1, -0.01, 0.01, 0.1, 0.5, 1))}
    ):
        false = 0.0
        for hits, probability in enumerate(binom.pmf(range(count + 1), count, truth)):
            one = estimates[hits]
            found = verdict(one.lower, one.upper, threshold)
            is_true = {
                "CERTIFIED": truth <= threshold, "VIOLATED": truth > threshold, "INCONCLUSIVE": truth <= one.upper,
            }[found]  # fmt: skip
            false += probability * (not is_true)
        assert false <= 0.05 + 1e-9, (truth, false)
