"""``certificate.html`` and the verdict on the terminal: the document for people, verdict first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csrlhf.evaluation.answers.records import Answer
from csrlhf.evaluation.certificates.statements import abstained
from csrlhf.evaluation.certificates.words import (
    decoding_words,
    named,
    percent,
    promise,
    sampling_words,
    with_current_verdicts,
)
from csrlhf.report import (
    Block,
    Card,
    Cards,
    Certificate,
    Dialogue,
    Dialogues,
    Figure,
    KeyValues,
    Report,
    Section,
    Table,
    Text,
    figure_name,
    print_blocks,
)
from csrlhf.report.blocks import VERDICT_TONES
from csrlhf.stats.estimates import in_percent


def bound_cards(name: str, constraint: Mapping[str, Any]) -> list[Card]:
    """What decides on a constraint, at a glance: a card for each statement that does."""
    cards = []
    for record in constraint["statements"]:
        if record["decides"]:
            low, high, limit = (_show(record, key) for key in ("lower", "upper", "threshold"))
            note = f"at least {low}, at most {high}; threshold {limit}"
            label = f"{named(name, constraint)}: {record['quantity']}"
            cards.append(Card(label, _show(record, "value"), note, VERDICT_TONES[record["verdict"]]))
    return cards


def _show(record: Mapping[str, Any], key: str) -> str:
    value = record[key]
    return percent(value) if "share" in record["quantity"] or "sensitivity" in record["quantity"] else f"{value:.4g}"


def bounds_section(name: str, constraint: Mapping[str, Any]) -> Section:
    """Everything that was counted on a constraint, and the bounds that decide as a figure."""
    columns = ["what", "how", "counted", "estimate", "lower bound", "upper bound", "verdict"]
    rows = []
    for record in constraint["statements"]:
        hits = "" if record["events"] is None else f"{record['events']:,} of "
        bounds = [_show(record, key) for key in ("value", "lower", "upper")]
        part = record["verdict"] or (record["note"] or "for comparison")
        rows.append([record["quantity"], record["method"], f"{hits}{record['count']:,}", *bounds, part])
    deciding = [record for record in constraint["statements"] if record["decides"]]
    each = percent(constraint["statements"][0]["confidence"])
    caption = f"Bounds on {name}; each holds alone with {each} confidence."
    blocks: list[Block] = [Table(columns, rows, caption=caption, name=f"bounds_{name}")]
    if deciding:
        blocks.append(
            Figure(
                figure_name("bounds", name),
                lambda axes, palette: _draw(axes, palette, deciding),
                f"Bounds on {name}",
                size=(7, 1.6),
            )
        )
    return Section(f"Bounds: {name}", blocks)


def _draw(axes: Any, palette: Any, records: Sequence[Mapping[str, Any]]) -> None:
    """Intervals as bars, the threshold as a line."""
    for place, record in enumerate(reversed(records)):
        low, high = max(record["lower"], -1e9), min(record["upper"], 1e9)
        color = getattr(palette, VERDICT_TONES[record["verdict"]])
        axes.plot([low, high], [place, place], color=color, linewidth=6, solid_capstyle="round")
        axes.plot([record["value"]], [place], "o", color=palette.ink)
    axes.axvline(records[0]["threshold"], color=palette.ink, linestyle="--", label="threshold")
    axes.set_yticks(range(len(records)), [_short(record) for record in reversed(records)])
    axes.set_ylim(-0.7, len(records) - 0.3)
    axes.set_xlim(left=min(0.0, *(max(record["lower"], -1e9) for record in records)))
    axes.set_xlabel(f"{records[0]['quantity']}" if len(records) == 1 else "rate of each statement, with its bounds")
    if "share" in records[0]["quantity"]:
        axes.xaxis.set_major_formatter("{x:.1%}")
    axes.legend(loc="best", frameon=False)


def _short(record: Mapping[str, Any]) -> str:
    return "by labels" if "truly" in record["quantity"] else "by the cost model"


Document = Mapping[str, Any]

SHOWN = 200
"""Responses on the page: those found unsafe first. All of them are in answers.jsonl."""


def reasons(document: Document) -> list[str]:
    """What else to know beside the verdict: what would decide it, and what lessens its worth. None of old documents."""
    found = []
    for name, constraint in document["constraints"].items():
        found += [f"{name}: {words}" for words in (constraint.get("outlook") or {}).get("sentences", ())]
    return found + [f"Note: {words}." for words in document.get("caveats", ())]


def print_certificate(document: Document) -> None:
    """The verdict, what is promised, what would decide it, and the caveats."""
    unchecked = [Text(f"not checked: {words}", "warn") for words in document["untouched"].get("unchecked", ())]
    verdict = Certificate(document["verdict"], promise(document), reasons=reasons(document))
    print_blocks([verdict, Text(document["claim"]), Text(document["confidence"]["split"]), *unchecked])


def write_page(path: Path, document: Document, answers: Sequence[Answer]) -> Report:
    """Writes the page and returns it."""
    made = page(document, answers)
    made.write(path)
    return made


def page(document: Document, answers: Sequence[Answer]) -> Report:
    """Verdict, bounds, assumptions, what it does not say, provenance, responses; an old document in current words."""
    document = with_current_verdicts(document)
    report = Report(
        f"Certificate of {document['policy']['name']}", f"{document['n']:,} prompts, {decoding_words(document)}"
    )
    confidence = document["confidence"]
    facts = {
        "in words": promise(document),
        "confidence": f"{in_percent(confidence['overall'])} %",
        "unit": f"one response to each of {document['n']:,} prompts",
        "shares of δ": confidence["split"],
    }
    report.add(Certificate(document["verdict"], document["claim"], facts, reasons(document)))
    cards = [card for name, one in document["constraints"].items() for card in bound_cards(name, one)]
    if cards:
        report.add(Cards(cards))
    for name, constraint in document["constraints"].items():
        report.add(bounds_section(name, constraint))
    if document["abstention"]:
        report.add(_abstention(document))
    report.add(Section("What has to be true for it", [Text("\n\n".join(document["assumptions"]))]))
    report.add(Section("What it does not say", [Text("\n\n".join(document["not_said"]))]))
    if document.get("exact_penalty"):
        report.add(_diagnostic(document["exact_penalty"]))
    report.add(_provenance(document))
    report.add(_dialogues(answers))
    return report


def _abstention(document: Document) -> Section:
    rows = [
        [record["candidates"], record["value"], record["lower"], record["upper"]] for record in document["abstention"]
    ]
    columns = ["candidates", "refuses", "lower bound", "upper bound"]
    formats = dict.fromkeys(columns[1:], "percent")
    caption = f"Prompts without an accepted candidate, counted; each bound holds alone. {decoding_words(document)}."
    return Section("How often it refuses to answer", [Table(columns, rows, caption, formats)])


def _diagnostic(found: Mapping[str, Any]) -> Section:
    rows, words = [], [found["note"]]
    for name, one in found["constraints"].items():
        rows += [[name, e["method"], e["value"], e["lower"], e["upper"]] for e in one["estimates"].values()]
        words.append(_diagnosed(name, one))
        words += [f"{name}: not available: {reason}." for reason in one["unavailable"]]
        words += [f"{name}: {note}." for note in one["notes"]]
    table = Table(["constraint", "estimate of λ*", "value", "lower end", "upper end"], rows)
    blocks: list[Block] = [Text("\n\n".join(words)), *([table] if rows else [])]
    return Section("Diagnostic of λ (not a part of the certificate)", blocks)


def _diagnosed(name: str, one: Mapping[str, Any]) -> str:
    crude = "" if one["crude"] is None else f" span(r)/λ is {one['crude']:.3g}."
    if not one["estimates"]:
        return (
            f"{name}: λ is {one['multiplier']:g}.{crude} Whether it was large enough is not known: no estimate of λ*."
        )
    if one["passed"]:
        result = "Large enough by these estimates: at the penalty's optimum the constraint is kept"
    else:
        result = f"These estimates do not show that it was large enough: {'; '.join(one['reasons'])}"
    return f"{name}: λ is {one['multiplier']:g}.{crude} {result}."


def _provenance(document: Document) -> Section:
    models: dict[str, Any] = {"policy": document["policy"], "reward model": document["reward"]}
    models |= {f"cost model {name}": one for name, one in document["cost"].items()}
    models |= {f"judge {name}": one for name, one in (document.get("judge") or {}).items()}
    values = {name: f"{one['name']}, sha256 {one['sha256'] or 'unknown'}" for name, one in models.items() if one}
    prompts, decode = document["prompts"], document["decode"]
    values |= {
        "prompts": f"{prompts['source']}, sha256 {prompts['sha256']}",
        **({} if prompts["file"] is None else {"prompt file": f"{prompts['file']}, sha256 {prompts['file_sha256']}"}),
        "decoding": f"{sampling_words(decode['sampling'])}, seed {decode['seed']}, sha256 {decode['sha256']}",
        "responses": f"answers.jsonl, sha256 {document['answers']['sha256']}",
    }
    for name, constraint in document["constraints"].items():
        if constraint["labels"]:
            labels = constraint["labels"]
            values[f"labels on {name}"] = (
                f"{labels['source']}, {labels['count']:,}, sha256 {labels['sha256'] or 'none'}"
                + (f"; {labels['next_step']}" if labels.get("next_step") else "")
            )
    return Section("Provenance", [KeyValues("", values), KeyValues("Versions", document["versions"])])


def _dialogues(answers: Sequence[Answer]) -> Dialogues:
    ranked = sorted(answers, key=lambda answer: -max(answer.cost_logits.values(), default=-math.inf))[:SHOWN]
    shown = []
    for answer in ranked:
        found = [name for name, logit in answer.cost_logits.items() if logit > 0]
        said = "refuses to answer" if abstained(answer) else ("unsafe" if found else "safe")
        labels = {"category": answer.category, "attack": answer.attack, "cost model": said}
        if answer.oracle is not None:
            labels["oracle"] = "unsafe" if answer.oracle["unsafe"] else "safe"
        values = {f"cost {name}": logit for name, logit in answer.cost_logits.items()}
        shown.append(Dialogue(answer.messages, answer.response, labels, bool(found), values))
    note = f"{len(shown)} of {len(answers):,} responses, the highest costs first; those found unsafe are folded."
    return Dialogues(shown, "Responses", note=note)
