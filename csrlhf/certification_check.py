"""What a certificate's prompts must not know: the data of every stage that the certified policy was built on.

Read from the ``csrlhf.json`` of the policy and of the cost model, and of what these were built on: prompts trained
on, and those by which checkpoints were chosen. Data that cannot be read any more is named in the certificate: nobody
can vouch for it there.
"""

from __future__ import annotations

from collections.abc import Mapping

from hydra.utils import instantiate

from csrlhf.data.leaks import PromptSet
from csrlhf.data.untouched import Known
from csrlhf.leak_check import READS, UNREADABLE, Result, earlier_results, known_sets, unreadable

USED = ("train", "validation")
"""Splits that had a part in a result; a test split is scored once, after it stands."""


def known_to(inputs: Mapping[str, str]) -> Known:
    """Everything that took part in training and selecting what a certificate covers.

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
            if result.name in READS:
                unchecked.append(f"stage={result.name}'s record names no data")
            continue
        sets += [found[split] for split in USED if split in found]
        generated.append(instantiate(result.record["config"]["data"]).oracle is not None)
    return Known(tuple(sets), files, tuple(unchecked), bool(generated) and all(generated))


def _files(result: Result) -> dict[str, str]:
    """sha256 of the files of a result's used splits, with whose they are."""
    hashes: Mapping[str, str] = (result.record or {}).get("data", {})
    splits = {key: key.rpartition(".")[2] for key in hashes}  # a mix writes <source>.<split>
    return {
        digest: f"{splits[key]} data of stage={result.name}" for key, digest in hashes.items() if splits[key] in USED
    }
