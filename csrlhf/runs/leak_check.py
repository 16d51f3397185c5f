"""Before a stage runs: are the prompts that it holds out new to it, and to the stages whose results it builds on?

An earlier stage's data is what its ``csrlhf.json`` says it was trained on. Compared are validation prompts with
everybody's training prompts, and test prompts with these and with everybody's validation prompts, by which checkpoints
were chosen. A generated world (a source with an oracle) splits by construction and is left alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from csrlhf.data.leaks import Known, PromptSet, Splits, between_splits, prompt_set
from csrlhf.data.source import DataSource, Kind, MissingRowsError, Split
from csrlhf.errors import InputWarning, UserError
from csrlhf.runs import artifacts
from csrlhf.runs.stages.base import Stage, made_by

MODES = ("error", "warn", "ignore")


def check_leaks(
    mode: str, stage: str, source: DataSource, inputs: Mapping[str, str], config: Mapping[str, Any] | None = None
) -> None:
    """Compares what a stage holds out with what it and its inputs know.

    Args:
        mode: ``error``, ``warn`` or ``ignore``: what a leak does.
        stage: the stage's name.
        source: its data.
        inputs: folders of the earlier results that it reads, by stage name.
        config: its whole configuration, which says what it reads.

    Raises:
        UserError: ``mode`` is unknown, or it is ``error`` and there is a leak; the message names prompts and places.
    """
    if mode not in MODES:
        raise UserError(f"leaks={mode}: must be one of {', '.join(MODES)}")
    declared = made_by(stage, config or {})
    if mode == "ignore" or not declared.reads or source.oracle is not None:
        return
    for leak in between_splits(_sets(stage, source, declared, config or {}), earlier_prompts(inputs)):
        message = f"{leak.message()}. Figures on them will be too good: split by prompt"
        if mode == "error":
            raise UserError(f"{message}, or set leaks=warn")
        warnings.warn(message, InputWarning, stacklevel=2)


def earlier_prompts(inputs: Mapping[str, str]) -> list[Splits]:
    """The prompts of earlier stages and of those that they were built on, each stage's result once.

    Args:
        inputs: folders of results by stage name; models from elsewhere are passed over.
    """
    found = []
    for result in earlier_results(inputs):
        try:
            sets = known_sets(result)
        except UNREADABLE as error:
            warnings.warn(f"leaks: {unreadable(result, error)}", InputWarning, stacklevel=2)
        else:
            found += [sets] if sets is not None else []
    return found


@dataclass(frozen=True)
class Result:
    """An earlier stage's result that others were built on.

    Attributes:
        name: of the stage; of a model from elsewhere, of the input that names it.
        folder: where it lies, or where it is said to have lain.
        record: its ``csrlhf.json``; None where there is none.
    """

    name: str
    folder: Path
    record: dict[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration that made it."""
        return (self.record or {}).get("config", {})

    @property
    def declared(self) -> Stage:
        """What its stage declares.

        Raises:
            UserError: the declaration is not there (any more).
        """
        return made_by(self.name, self.config)


UNREADABLE = (UserError, OSError, InstantiationException)
"""What comes of data that an earlier stage had and that is gone or changed."""


def unreadable(result: Result, error: BaseException) -> str:
    """Words for a result whose data cannot be read any more."""
    reason = error.__cause__ if isinstance(error, InstantiationException) else error
    return f"stage={result.name}'s data cannot be compared: {reason}"


def earlier_results(inputs: Mapping[str, str]) -> list[Result]:
    """The results that inputs name and those that they were built on, each once.

    Args:
        inputs: folders of results by stage name (of one of several cost models ``cost.<name>``).
    """
    seen: set[Path] = set()  # the SFT policy is an input, and what other inputs were built on
    return [result for name, folder in inputs.items() for result in _earlier(name, Path(folder), seen)]


def known_sets(result: Result, generated: bool = False) -> Splits | None:
    """The prompts that a result was trained and chosen on, by split; None where it is not one of ours, or used none.

    Args:
        result: an earlier result.
        generated: also those of a generated world, which splits by construction.
    """
    if not result.declared.reads or "data" not in result.config:
        return None
    source: DataSource = instantiate(result.config["data"])
    if source.oracle is not None and not generated:
        return {}
    return _sets(result.name, source, result.declared, result.config)


def _sets(stage: str, source: DataSource, declared: Stage, config: Mapping[str, Any]) -> Splits:
    """A stage's prompts by split."""
    has = getattr(source, "has", lambda split: True)
    rows: dict[Split, list[Any]] = {}
    kinds: dict[Kind, tuple[Split, ...]] = {**declared.reads, **declared.may_read(config)}
    for kind, splits in kinds.items():
        for split in splits:
            if has(split):
                found = _rows(source, kind, split, required=kind in declared.reads)
                rows[split] = [*rows.get(split, []), *found]
    return {split: prompt_set(found, source, split, stage) for split, found in rows.items()}


def _rows(source: DataSource, kind: Kind, split: Split, required: bool) -> list[Any]:
    try:
        return getattr(source, kind)(split)
    except MissingRowsError:
        others = split == "test" and hasattr(source, "offers")  # a mix's test split may serve other stages alone
        if required and not others:
            raise
        return []  # the stage itself says which of its keys asks for them


def _earlier(name: str, folder: Path, seen: set[Path]) -> Iterator[Result]:
    """An input's result and those that it was built on."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    record = artifacts.read_record(folder) if folder.is_dir() else None
    if record is None:  # not one of ours: nobody knows what it was trained on
        yield Result(name, folder, None)
        return
    yield Result(record.get("stage", name), folder, record)
    for other, result in record.get("inputs", {}).items():
        yield from _earlier(other, moved(Path(result["path"]), result, folder), seen)


def moved(path: Path, result: Mapping[str, Any], folder: Path) -> Path:
    """Where an input of the result in ``folder`` lies now: artifacts folders are moved and copied as a whole."""
    if path.is_dir():
        return path
    for root in folder.resolve().parents[:2]:
        for place in (root / path.name, root / path.parent.name / path.name):
            record = artifacts.read_record(place) if place.is_dir() else None
            if record and record["fingerprint"] == result["fingerprint"]:
                return place
    return path


# What a certificate's prompts must not know: the data of every stage that the certified policy was built on.
#
# Read from the ``csrlhf.json`` of the policy and of the cost model, and of what these were built on: prompts trained
# on, and those by which checkpoints were chosen. Data that cannot be read any more is named in the certificate: nobody
# can vouch for it there.

USED = ("train", "validation")
"""Splits that had a part in a result; a test split is scored once, after it stands."""


def known_to(inputs: Mapping[str, str]) -> Known:
    """Everything that took part in training what a certificate covers, and in choosing its checkpoints.

    What policies were seen on afterwards is ``seen_prompts.looks_at``'s part.

    Args:
        inputs: folders of the policy, the cost models and whatever else decides what is said.
    """
    sets: list[PromptSet] = []
    files: dict[str, str] = {}
    unchecked: list[str] = []
    generated: list[bool] = []
    for result in earlier_results(inputs):
        if result.record is None:
            unchecked.append(f"{result.folder} ({result.name}) has no record of what it was trained on")
            continue
        files |= _files(result)
        try:
            found = known_sets(result, generated=True)
        except UNREADABLE as error:
            unchecked.append(unreadable(result, error))
            continue
        if found is None:
            if result.declared.reads:
                unchecked.append(f"stage={result.name}'s record names no data")
            continue
        sets += [found[split] for split in USED if split in found]
        generated.append(instantiate(result.config["data"]).oracle is not None)
    return Known(tuple(sets), files, tuple(unchecked), bool(generated) and all(generated))


def _files(result: Result) -> dict[str, str]:
    """sha256 of the files of a result's used splits, with whose they are."""
    hashes: Mapping[str, str] = (result.record or {}).get("data", {})
    splits = {key: key.rpartition(".")[2] for key in hashes}  # a mix writes <source>.<split>
    return {
        digest: f"{splits[key]} data of stage={result.name}" for key, digest in hashes.items() if splits[key] in USED
    }
