"""Which models a certificate is about: hashes, what the policy was trained against, and who may judge whom.

Models are told apart by fingerprints and hashes, never by paths: a copy is the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.models.cost_models import CostFolders, named_folders
from csrlhf.models.loading import model_folder, model_identity, weights_hash
from csrlhf.runs import artifacts


def models_record(inputs: Mapping[str, Any], reward: str | None, judge: CostFolders | None = None) -> dict[str, Any]:
    """Models that must be the same for a certificate to cover a policy, and what the policy was trained against.

    Args:
        inputs: folders ``ppo``, the policy, and ``cost``, one or several cost models.
        reward: folder of a reward model; None without one.
        judge: cost models that count in place of ``cost``; None without.
    """
    judges = None if judge is None else {name: model_identity(one) for name, one in named_folders(judge).items()}
    costs = {name: model_identity(folder) for name, folder in named_folders(inputs["cost"]).items()}
    against = _trained_against(Path(str(inputs["ppo"])))
    return {
        "policy": model_identity(str(inputs["ppo"])),
        "cost": costs,
        "judge": judges,
        "reward": None if reward is None else model_identity(reward),
        "trained_against": sorted(
            name for name, one in (judges or costs).items() if against & {one["fingerprint"], one["sha256"]}
        ),
    }


def _trained_against(policy: Path) -> set[str]:
    """Fingerprints of the cost models that a policy's reward was reduced by; none of a policy without a record."""
    record = artifacts.read_record(policy) if policy.is_dir() else None
    found = (record or {}).get("inputs", {}).items()
    return {one["fingerprint"] for name, one in found if name.partition(".")[0] == "cost"}


def check_judge(judge: CostFolders | None, cost: CostFolders, decode: str) -> None:
    """Raises where a judge is not here, or is the cost model that chooses in best of N, under whatever path.

    Args:
        judge: ``certify.judge``.
        cost: ``inputs.cost``.
        decode: ``certify.decode``.
    """
    for folder in {} if judge is None else named_folders(judge).values():
        try:
            model_folder(folder)
        except UserError as error:
            raise UserError(f"certify.judge={error}") from error
    if judge is None or decode != "best_of_n":
        return
    choosing = {word: folder for folder in named_folders(cost).values() for word in _words_of(folder)}
    for folder in named_folders(judge).values():
        if same := [choosing[word] for word in _words_of(folder) if word in choosing]:
            raise UserError(
                f"certify.judge={folder}: is the cost model by which best of N chooses ({same[0]}, by its "
                "fingerprint or weights): whatever it accepts it finds safe, so its verdict on that says nothing; name "
                "another one, or give labels (certify.labels)"
            )


def _words_of(folder: str) -> set[str]:
    identity = model_identity(folder)
    return {word for word in (identity["fingerprint"], identity["sha256"], weights_hash(folder)) if word}


def check_models(
    about: Mapping[str, Any], outputs: str, inputs: Mapping[str, Any], judge: CostFolders | None = None
) -> None:
    """Raises where kept responses are of another policy or cost model, or were judged by another judge.

    Args:
        about: their provenance.
        outputs: their file, for the message.
        inputs: folders of the policy ``ppo`` and of the cost models ``cost``, as they are now.
        judge: ``certify.judge``, as it is now.
    """
    now = {"inputs.ppo": {model_identity(str(inputs["ppo"]))["sha256"]}, "inputs.cost": _hashes(inputs["cost"])}
    then = {"inputs.ppo": {about["policy"]["sha256"]}, "inputs.cost": _recorded(about["cost"])}
    now["certify.judge"], then["certify.judge"] = _hashes(judge), _recorded(about.get("judge"))
    given = {"inputs.ppo": inputs["ppo"], "inputs.cost": inputs["cost"], "certify.judge": judge}
    for key, words in (("inputs.ppo", "policy"), ("inputs.cost", "cost model"), ("certify.judge", "judge")):
        if now[key] != then[key]:
            raise UserError(
                f"{key}={'null' if given[key] is None else given[key]}: is not the {words} of the responses in "
                f"{outputs} (other weights or settings); point {key}= to that one"
                + (", or draw responses anew, without certify.outputs" if key == "certify.judge" else "")
            )


def _hashes(models: CostFolders | None) -> set[str]:
    return set() if models is None else {model_identity(one)["sha256"] for one in named_folders(models).values()}


def _recorded(models: Mapping[str, Any] | None) -> set[str]:
    return {one["sha256"] for one in (models or {}).values()}
