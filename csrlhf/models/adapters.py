"""Folders that hold a policy's adapters alone, in PEFT's layout, and name the model that they belong to.

A few megabytes instead of a whole model. Read here, adapters are merged into their base; transformers with PEFT opens
the folder too, where the base is a folder or a Hub name of its own. A base may itself be such a folder.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import PreTrainedModel

from csrlhf.errors import UserError
from csrlhf.models.settings import SavedAs, Tuning, TuningMethod
from csrlhf.models.tuning import save_merged

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check_tuning(saved_as: SavedAs, tuning: Tuning) -> None:
    """Raise a UserError where nothing of a policy is trained, or adapters are to be saved and there are none."""
    if tuning.method == TuningMethod.frozen:
        raise UserError(
            "model.policy.tuning.method=frozen: trains nothing of a policy; set full, lora or last_n (frozen is for "
            "cost models and critics, whose heads are trained)"
        )
    if saved_as == SavedAs.adapters and tuning.method != TuningMethod.lora:
        raise UserError(
            f"model.policy.save=adapters: model.policy.tuning.method={tuning.method} trains no adapters; set "
            "model.policy.tuning.method=lora, or model.policy.save=merged"
        )


def holds_adapters(folder: str | Path) -> bool:
    """Whether a folder is of this kind."""
    return (Path(folder) / CONFIG).is_file()


def base_of(folder: str | Path) -> str:
    """The model that a folder's adapters belong to.

    Raises:
        UserError: it does not say.
    """
    path = Path(folder) / CONFIG
    try:
        base = json.loads(path.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make or copy the folder again") from error
    if not base:
        raise UserError(f"{path}: names no base_model_name_or_path; write there which model the adapters belong to")
    return str(base)


def save_policy(model: PreTrainedModel, folder: str | Path, saved_as: SavedAs, base: str) -> None:
    """Write a trained policy as plain weights, or its adapters alone; arguments as in :func:`save_adapters`."""
    if saved_as == SavedAs.adapters:
        save_adapters(model, folder, base)
    else:
        save_merged(model, folder)


def save_adapters(model: PreTrainedModel, folder: str | Path, base: str) -> None:
    """Write a model's adapters, what ends its answers, and the name of what they belong to.

    No ``config.json``: beside one transformers takes the folder for a whole model.

    Args:
        model: with adapters (``tune``).
        folder: is made.
        base: what the model was loaded from; a relative path is written as an absolute one.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = get_peft_model_state_dict(model)  # type: ignore[arg-type]  # adapters are injected
    prefixed = {f"base_model.model.{name}": weight.detach().cpu().contiguous() for name, weight in found.items()}
    save_file(prefixed, folder / WEIGHTS, metadata={"format": "pt"})
    [config] = model.peft_config.values()  # type: ignore[union-attr,operator]  # a dict that PEFT sets
    config.base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base
    config.inference_mode = True
    config.save_pretrained(str(folder))
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)


def merge_adapters(base: PreTrainedModel, folder: str | Path) -> PreTrainedModel:
    """The base with a folder's adapters merged into its weights.

    Raises:
        UserError: PEFT is missing, or the adapters are broken or of another model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise UserError(
            f"{folder} holds adapters, which need PEFT ({error}); run: pip install 'csrlhf[lora]'"
        ) from error
    try:
        return PeftModel.from_pretrained(base, str(folder)).merge_and_unload()  # type: ignore[operator]  # a method
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{folder}: its adapters do not fit {base_of(folder)}, or are broken: {reason}") from error
