"""Answers that were kept: are they still what was written, and are they of this policy and this cost model?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.evaluation.answers import about_path, read_about
from csrlhf.evaluation.model_hash import model_identity
from csrlhf.models.cost_models import named_folders


def read_kept(outputs: str) -> dict[str, Any]:
    """The provenance of kept answers.

    Args:
        outputs: an ``answers.jsonl`` of an earlier certificate.

    Raises:
        UserError: the file is missing, was changed, or is of no certificate.
    """
    if not Path(outputs).expanduser().is_file():
        raise UserError(f"certify.outputs={outputs}: there is no such file; name an answers.jsonl of stage=certify")
    about = read_about(outputs)
    if about.get("kind") != "certification":
        raise UserError(
            f"certify.outputs={outputs}: {about_path(Path(outputs)).name} beside it does not say that "
            "stage=certify wrote these responses; other prompts may have been seen before. Let stage=certify "
            "generate responses"
        )
    if about["edited"]:
        raise UserError(
            f"certify.outputs={outputs}: was changed after it was written (its sha256 is "
            f"{about['sha256'][:12]}..., not the one beside it); a certificate stands on the responses as they were. "
            "Restore the file, or generate anew"
        )
    return about


def check_models(about: Mapping[str, Any], outputs: str, inputs: Mapping[str, Any]) -> None:
    """Raises where kept answers are of another policy or cost model.

    Args:
        about: their provenance.
        outputs: their file, for the message.
        inputs: folders of the policy ``ppo`` and of the cost models ``cost``, as they are now.
    """
    now = {"ppo": {model_identity(str(inputs["ppo"]))["sha256"]}}
    now["cost"] = {model_identity(folder)["sha256"] for folder in named_folders(inputs["cost"]).values()}
    then = {"ppo": {about["policy"]["sha256"]}, "cost": {one["sha256"] for one in about["cost"].values()}}
    for key, words in (("ppo", "policy"), ("cost", "cost model")):
        if now[key] != then[key]:
            raise UserError(
                f"inputs.{key}={inputs[key]}: is not the {words} of the responses in {outputs} (other weights or "
                f"settings); point inputs.{key}= to that one"
            )
