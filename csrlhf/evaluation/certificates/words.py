"""A certificate's sentences: its claim, what it assumes, and what it does not say. Made from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from csrlhf.stats.estimates import in_percent

Document = Mapping[str, Any]

OLD_VERDICTS = {"REFUSED": "VIOLATED"}
"""Verdicts of layout 1, and the current ones. The seal of an old certificate covers the old words."""


def percent(value: float | None, digits: int = 2) -> str:
    """A share as text."""
    return "unknown" if value is None else f"{round(100 * value, digits) + 0.0:.{digits}f} %"  # + 0.0: no "-0.00"


def decoding_words(document: Document) -> str:
    """How responses were decoded."""
    decode = document["decode"]
    if decode["decode"] == "plain":
        return "one response per prompt"
    chosen = "the accepted one with the best reward" if decode["rule"] == "best" else "the first accepted one"
    return f"best of {decode['n']} with abstention, {chosen}"


def sampling_words(sampling: Mapping[str, Any]) -> str:
    """How responses were sampled: ``temperature 1.0, top_p 1.0, ...``."""
    return ", ".join(f"{name} {value}" for name, value in sampling.items())


def claim(document: Document) -> str:
    """The one sentence that the verdict is about.

    A verdict is worded against the threshold d and not by the bound that led to it. Whatever the true rate is, the
    sentence is then false with probability δ at the most, although the data choose the side: for a rate up to d only
    "more than d" can be false, above it only "at most d" or "at most U". Quoting the bounds themselves, each of them
    valid alone at δ, came out false with up to 2 δ.
    """
    name, confidence = document["policy"]["name"], document["confidence"]["overall"]
    head = (
        f"With {in_percent(confidence)} % confidence, for prompts drawn like these {document['n']:,}, policy {name}, "
    )
    head += f"decoded as stated ({decoding_words(document)}), has: "
    return head + "; ".join(_bound(named(name, one), one) for name, one in document["constraints"].items()) + "."


def named(name: str, constraint: Mapping[str, Any]) -> str:
    """A constraint with the prompts that it is about, where these are not all."""
    return f"{name} ({where})" if (where := constraint.get("where")) else name


def _bound(name: str, constraint: Mapping[str, Any]) -> str:
    words = []
    for record in constraint["statements"]:
        if not record["decides"]:
            continue
        found = record["verdict"]
        limit, upper = _number(record["threshold"], record), _number(record["upper"], record)
        rate = {
            "CERTIFIED": f"at most {limit}, the threshold",
            "VIOLATED": f"more than {limit}, the threshold",
            "INCONCLUSIVE": f"at most {upper}, which leaves open whether it keeps the threshold of {limit}",
        }[found]
        words.append(f"a {record['quantity']} of {rate}")
    return f"on {name} " + (" and ".join(words) or NOTHING_DECIDES)


NOTHING_DECIDES = (
    "nothing that can be held against the threshold: the cost model that counts is the one by which the responses were "
    "chosen, and it finds safe what it accepts"
)


def promise(document: Document) -> str:
    """What is promised, in one sentence for people who do not know what a bound is."""
    words = "; ".join(_promised(named(name, one), one) for name, one in document["constraints"].items())
    about = f"of {document['policy']['name']}: of its responses to new prompts like these, {words}"
    wrong = f"at most {in_percent(document['confidence']['delta'])} in 100 such statements are wrong"
    return {
        "CERTIFIED": f"Promised {about}; {wrong}.",
        "VIOLATED": f"No promise, but shown {about}; {wrong}.",
        "INCONCLUSIVE": f"Nothing is promised {about}.",
    }[document["verdict"]]


def _promised(name: str, constraint: Mapping[str, Any]) -> str:
    words = [_in_a_hundred(name, record) for record in constraint["statements"] if record["decides"]]
    return " and ".join(words) or f"on {name} only the model that has chosen them was asked"


def _in_a_hundred(name: str, record: Mapping[str, Any]) -> str:
    judge = "as people judge" if "truly" in record["quantity"] else "as the cost model judges"
    limit, found = record["threshold"], record["verdict"]
    much = "more than" if found == "VIOLATED" else "at most"
    if "share" in record["quantity"]:
        words = f"{100 * limit:.3g} in 100" if limit >= 0.01 else f"{1000 * limit:.3g} in 1,000"
        words = f"{much} {words} are unsafe on {name}, {judge}"
    else:
        quantity = "the mean of the worst costs" if "worst" in record["quantity"] else "the mean cost"
        words = f"{quantity} on {name} is {much} {limit:.4g}, {judge}"
    return f"it is open whether {words}" if found == "INCONCLUSIVE" else words


def caveats(document: Document) -> list[str]:
    """What lessens a certificate's worth, though its arithmetic is right; shown beside the verdict."""
    found = []
    by_model = any(
        constraint["labels"] is None and any(record["decides"] for record in constraint["statements"])
        for constraint in document["constraints"].values()
    )
    if document.get("trained_against") and by_model:
        found.append(
            "the cost model that counts is the one that the policy was trained against: what the policy has learnt to "
            "get past it is not counted; another judge (certify.judge) or labels (certify.labels) would count it"
        )
    untouched = document["untouched"]
    if (untouched.get("seen") or {}).get("policy_is_later"):
        found.append(
            "the policy was made after some of its prompts were seen with others: sharing δ pays for a choice among "
            "policies that stood before, not for one that was changed by what was seen"
        )
    if earlier := untouched.get("certificates"):
        found.append(
            f"some of its prompts have made {len(earlier)} other certificate{'s' * (len(earlier) > 1)} of policies "
            f"from the same start ({_places(earlier)}): each holds alone; the best of them needs certify.num_runs="
            f"{len(earlier) + 1}"
        )
    return found


def _places(looks: Sequence[Mapping[str, Any]]) -> str:
    more = f"; and {len(looks) - 3:,} more" if len(looks) > 3 else ""
    return "; ".join(f"{one['place']}, {one['created'][:10]}" for one in looks[:3]) + more


def _number(value: float, record: Mapping[str, Any]) -> str:
    return percent(value) if "share" in record["quantity"] else f"{value:.4g}"


def assumptions(document: Document) -> list[str]:
    """What has to be true for the bounds to hold, beside the arithmetic."""
    prompts = document["prompts"]
    found = [
        f"The {document['n']:,} prompts ({prompts['source']}) are a random sample of those that the policy will meet, "
        "each drawn independently of the others.",
        f"The unit is the prompt: {prompts['repeated']:,} repeated prompts were left out, each other one counts once.",
        "Policy, cost model and decoding are those with the hashes below, and stay unchanged.",
        "The prompts were not used in training, in checkpoint selection or in the choice of a threshold, λ or N."
        + _compared(document),
    ]
    for done, words in (("left_out", "left out"), ("truncated", "cut")):
        if number := prompts.get(done):
            found.append(
                f"{number:,} prompts of more than {prompts['max_prompt_tokens']:,} tokens, or that the chat template "
                f"refuses, were {words}: the bounds are about prompts as they were asked."
            )
    if prompts["near_duplicates"]:
        found.append(
            f"{prompts['near_duplicates']:,} of the prompts have a near-duplicate among them. They count as "
            "separate draws; where they were made from each other (paraphrases), the bounds are too narrow."
        )
    if document["confidence"]["runs"] > 1:
        found.append(f"No more than {document['confidence']['runs']} runs were compared before this one was chosen.")
    else:
        found.append("The policy was not chosen among several by certificates on these prompts (certify.num_runs = 1).")
    if document["decode"]["decode"] == "best_of_n":
        found.append("The refusal is a fixed template and safe: it counts as a response without a violation.")
    for name, constraint in document["constraints"].items():
        found += _label_assumptions(name, constraint)
    return found


def _compared(document: Document) -> str:
    untouched = document["untouched"]
    words = ""
    if untouched.get("compared"):
        words = f" Compared with, and found in none of: {', '.join(untouched['compared'])}."
    if untouched.get("nearly_known"):
        words += f" {untouched['nearly_known']:,} of them are nearly, not quite, one of those."
    if untouched.get("unchecked"):
        words += f" NOT checked: {'; '.join(untouched['unchecked'])}."
    if seen := untouched.get("seen"):
        words += (
            f" {seen['prompts']:,} of them were seen before, and a choice among {seen['candidates']} policies or ways "
            f"of decoding may rest on them ({_places(seen['looks'])}): δ is shared among certify.num_runs = "
            f"{document['confidence']['runs']}."
        )
    return words


def _label_assumptions(name: str, constraint: Mapping[str, Any]) -> list[str]:
    labels = constraint["labels"]
    if labels is None:
        return []
    found = [f"The {labels['count']:,} labels on {name} ({labels['source']}) are right. {_sample(labels)}"]
    if labels["open"]:
        found.append(
            f"{labels['open']:,} of the labels on {name} are open (raters disagree without a decision, or cannot "
            "tell): they count as unsafe for the upper bound, and as safe for the lower one."
        )
    return found


def _sample(labels: Mapping[str, Any]) -> str:
    """How it was chosen what to label, and when to stop."""
    stop = (
        f"Their number was fixed at {labels['count']:,} before the first one."
        if labels["stopping"] == "fixed"
        else "Labelling may have stopped at any time: the bounds hold for all of them at once."
    )
    rate = labels["rate"]
    chosen = (
        ""
        if rate == 1
        else f", in which a response is labelled with a known probability: {rate:g}, and more where the cost model's "
        f"P(unsafe) is above {labels['score']:g}"
    )
    ignored = "" if not labels["ignored"] else f" {labels['ignored']:,} labels do not follow it, and do not count."
    return f"They are the first of label_order.txt, a random order{chosen}. {stop}{ignored}"


def not_said(document: Document) -> list[str]:
    """What a reader could take it for, and what it is not."""
    found = [
        "Nothing about other prompts: a new kind of attack, another language, longer conversations.",
        "Nothing about a single response: it is about how often, not about how bad.",
        "Nothing about the same policy with another temperature, another length limit or another system prompt.",
        "Nothing about how helpful the policy is: one that refuses everything could have this certificate.",
    ]
    unlabelled = [name for name, constraint in document["constraints"].items() if constraint["labels"] is None]
    if unlabelled:
        found.insert(
            0,
            f"Nothing about what people would find unsafe ({', '.join(unlabelled)}): the rate is the "
            + ("judge's" if document.get("judge") else "cost model's")
            + ", and it errs. Labels of the responses (certify.labels) bound the true rate.",
        )
    if document["decode"]["decode"] == "best_of_n":
        found.append(
            "Nothing about another N or rule: with the best-reward rule the share of unsafe responses can grow with N."
        )
    return found


def with_current_verdicts(document: Mapping[str, Any]) -> dict[str, Any]:
    """The certificate with the current word for each verdict: of the whole, of constraints and of statements.

    Check the seal first: it holds for the document as it was written.
    """

    def renewed(part: Mapping[str, Any]) -> dict[str, Any]:
        return {**part, "verdict": OLD_VERDICTS.get(part["verdict"], part["verdict"])}

    constraints = {
        name: renewed(one) | {"statements": [renewed(record) for record in one["statements"]]}
        for name, one in document.get("constraints", {}).items()
    }
    return renewed(document) | ({"constraints": constraints} if constraints else {})
