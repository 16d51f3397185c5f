"""What identifies a model in a certificate: a hash of its files, not of the settings that it was made with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError
from csrlhf.models.loading import resolve_path
from csrlhf.runs import artifacts

SUFFIXES = (".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt")
"""Files of weights, configuration and tokenizer; not plots, histories and pages."""

REPORTS = (artifacts.RECORD, "metrics.json")
"""What a stage writes beside them, and what changes nothing that the model says."""


def model_folder(spec: str) -> Path:
    """Where a model's files lie: its folder, a package's, or the snapshot of a hub's that was loaded.

    Raises:
        UserError: no file of it is here, so that nothing says which version a name stands for.
    """
    folder = Path(resolve_path(spec))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec, local_files_only=True))
    except (OSError, ValueError) as error:  # not in the cache; no name that a hub could know
        raise UserError(
            f"{spec}: a name alone does not say which weights are meant, and none are in the local cache; download the "
            "model into a folder and name that"
        ) from error


def model_hash(folder: Path) -> str:
    """sha256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in REPORTS)
    if not files:
        raise UserError(f"{folder}: holds no file of a model; name the folder of one")
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_identity(spec: str) -> dict[str, Any]:
    """A model's name, the hash of its files, and the fingerprint of the stage that made it, where one did."""
    folder = model_folder(spec)
    named = Path(spec).expanduser().is_dir()
    record = artifacts.read_record(folder)
    return {
        "name": folder.resolve().name if named else spec,
        "sha256": model_hash(folder),
        "fingerprint": record["fingerprint"] if record else None,
    }
