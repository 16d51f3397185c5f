"""Where it is recorded on which prompts policies were seen, and where a certificate finds it again.

A record is one small file, named by a hash of what it says: two evaluations at once write two files, the same one twice
writes one. It lies in the artifacts folder, ``seen_prompts/``, and in the folder of every model that was seen and of
the policies that it was built on, where these can be written to and are ours. So it is found by whoever has the
artifacts, the policy, a copy of it, or another policy from the same start; read-only folders leave the artifacts'. What
is found is told apart by fingerprints and hashes of weights, never by paths.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from csrlhf.data.seen import COST_MODEL, EVALUATE, Look, Seen, candidate_of, prompt_hashes
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.artifacts import SEEN_PROMPTS
from csrlhf.runs.leak_check import moved

POLICIES = ("sft", "ppo")
"""Stages that make policies, and what a policy's inputs of that kind are called."""


def record_seen(root: Path, place: Path, seen: Seen) -> None:
    """Writes what a stage has seen to the artifacts folder and beside the models.

    Args:
        root: the artifacts folder.
        place: the folder of the stage's result.
        seen: by its module.
    """
    identities = {name: _identity(model) for name, model in seen.models.items()}
    folders = list(dict.fromkeys(one for model in seen.models.values() for one in _ours(model, seen.kind)))
    content: dict[str, Any] = {
        "kind": seen.kind,
        "models": {candidate_of(one, seen.decoding): name for name, one in identities.items()},
        "families": sorted(set().union(*map(_words, identities.values()), *map(_ancestors, folders))),
        "seed": seen.seed,
        "prompts": sorted(prompt_hashes(seen.prompts)),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    content |= {"place": str(place), "created": datetime.now(UTC).isoformat(timespec="milliseconds")}
    name = f"{seen.kind}-{digest[:16]}.json"
    _write(Path(root) / SEEN_PROMPTS / name, content)
    for folder in folders:
        with suppress(OSError, UserError):  # a folder that is read-only, or full: the artifacts' record stands
            _write(folder / SEEN_PROMPTS / name, content)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    if not path.exists():  # the first time is when it was seen
        path.parent.mkdir(parents=True, exist_ok=True)
        artifacts.write_json(path, content)


def _identity(model: str) -> Mapping[str, Any]:
    """Of a folder or a hub's name; what is neither is a fingerprint."""
    from csrlhf.models.loading import model_identity  # imports torch, which the pipeline's waiting process does without

    try:
        return model_identity(model)
    except UserError:
        return {"fingerprint": model, "sha256": None}


def _words(identity: Mapping[str, Any]) -> set[str]:
    """A copy without its record is still known by its weights."""
    return {str(identity[key]) for key in ("fingerprint", "sha256") if identity[key]}


def _ours(model: str, kind: str = EVALUATE) -> Iterator[Path]:
    """A model's folder and those of the policies that it was trained from, as far as they are here and ours.

    A cost model has no family: its threshold is its own.
    """
    folder = Path(model).expanduser()
    record = artifacts.read_record(folder) if folder.is_dir() else None
    if record is None:
        return
    yield folder.resolve()
    for result in _policies(record) if kind != COST_MODEL else ():
        yield from _ours(str(moved(Path(result["path"]), result, folder)))


def _ancestors(folder: Path) -> set[str]:
    """Fingerprints of the policies that a policy was trained from, whether or not they are still here."""
    record = artifacts.read_record(folder) or {}
    return {one["fingerprint"] for one in _policies(record)} if record.get("stage") in POLICIES else set()


def _policies(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for name, one in record.get("inputs", {}).items() if name in POLICIES]


def looks_at(root: Path | None, policy: str, costs: Iterable[str]) -> tuple[list[Look], list[str]]:
    """What was recorded of a policy's family, and of the cost models that count.

    Args:
        root: the artifacts folder; None where there is none.
        policy: folder of the certified policy.
        costs: folders of the cost models that choose responses or judge them.

    Returns:
        The records, each once, and in words what could not be read.
    """
    lineage, costs = list(_ours(policy)), list(costs)
    places = [Path(root)] if root is not None else []
    for folder in (*lineage, *(one for cost in costs for one in _ours(cost, COST_MODEL))):
        places += [folder, *folder.parents[:2]]  # artifacts/ppo/<run>: its own, and its artifacts folder's
    files = {path.name: path for path in _files(places)}
    if not files:
        return [], []
    related = _words(_identity(policy)).union(*map(_ancestors, lineage))
    judging = set().union(*(_words(_identity(cost)) for cost in costs))
    found, broken = [], []
    for path in files.values():
        try:
            look, families = _read(path)
        except (ValueError, KeyError, TypeError, AttributeError, OSError):
            broken.append(f"{path} cannot be read: what was seen there is not known")
            continue
        if families & (judging if look.kind == COST_MODEL else related):
            found.append(look)
    return found, broken


def _read(path: Path) -> tuple[Look, set[str]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    look = Look(
        content["kind"], content["place"], content["created"], dict(content["models"]), frozenset(content["prompts"]),
        content["seed"],
    )  # fmt: skip
    return look, set(content["families"])


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in dict.fromkeys(one.resolve() for one in places):
        with suppress(OSError):
            yield from sorted((place / SEEN_PROMPTS).glob("*.json"))
