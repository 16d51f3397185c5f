"""Which models a certificate is about: hashes, what the policy was trained against, and who may judge whom.

Models are told apart by fingerprints and hashes, never by paths: a copy is the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.models.loading import model_identity
from csrlhf.runs import artifacts
from csrlhf.scorers.costs import CostScorers
from csrlhf.scorers.identity import scorer_identity, words_of
from csrlhf.scorers.specs import label, named


def models_record(inputs: Mapping[str, Any], reward: Any, judge: CostScorers | None = None) -> dict[str, Any]:
    """Models that must be the same for a certificate to cover a policy, and what the policy was trained against.

    Args:
        inputs: the folder ``ppo``, the policy, and ``cost``, one or several cost models.
        reward: the reward model; None without one.
        judge: cost models that count in place of ``cost``; None without.
    """
    judges = None if judge is None else {name: scorer_identity(one) for name, one in named(judge).items()}
    costs = {name: scorer_identity(one) for name, one in named(inputs["cost"]).items()}
    against = _trained_against(Path(str(inputs["ppo"])))
    return {
        "policy": model_identity(str(inputs["ppo"])),
        "cost": costs,
        "judge": judges,
        "reward": None if reward is None else scorer_identity(reward),
        "trained_against": sorted(
            name for name, one in named(inputs["cost"] if judge is None else judge).items() if against & words_of(one)
        ),
    }


def _trained_against(policy: Path) -> set[str]:
    """Fingerprints of the cost models that a policy's reward was reduced by; none of a policy without a record."""
    record = artifacts.read_record(policy) if policy.is_dir() else None
    found = (record or {}).get("inputs", {}).items()
    return {one["fingerprint"] for name, one in found if name.partition(".")[0] == "cost"}


def check_judge(judge: CostScorers | None, cost: CostScorers, decode: str) -> None:
    """Raises where a judge is not here, or is the cost model that chooses in best of N, under whatever path.

    Args:
        judge: ``certify.judge``.
        cost: ``inputs.cost``.
        decode: ``certify.decode``.
    """
    judging: list[tuple[str, set[str]]] = []
    for one in {} if judge is None else named(judge).values():
        try:
            judging.append((label(one), words_of(one)))
        except UserError as error:
            raise UserError(f"certify.judge={error}") from error
    if judge is None or decode != "best_of_n":
        return
    choosing = {word: label(one) for one in named(cost).values() for word in words_of(one)}
    for name, words in judging:
        if same := sorted(choosing[word] for word in words if word in choosing):
            raise UserError(
                f"certify.judge={name}: is the cost model by which best of N chooses ({same[0]}, by its "
                "fingerprint or weights): whatever it accepts it finds safe, so its verdict on that says nothing; name "
                "another one, or give labels (certify.labels)"
            )


def check_models(
    about: Mapping[str, Any], outputs: str, inputs: Mapping[str, Any], judge: CostScorers | None = None
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


def _hashes(models: CostScorers | None) -> set[str]:
    return set() if models is None else {scorer_identity(one)["sha256"] for one in named(models).values()}


def _recorded(models: Mapping[str, Any] | None) -> set[str]:
    return {one["sha256"] for one in (models or {}).values()}
