"""What identifies a model in a certificate: a hash of its files, not of the settings that it was made with."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from csrlhf import artifacts

SUFFIXES = (".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt")
"""Files of weights, configuration and tokenizer; not plots, histories and pages."""

REPORTS = (artifacts.RECORD, "metrics.json")
"""What a stage writes beside them, and what changes nothing that the model says."""


def model_hash(folder: Path) -> str:
    """sha256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES and path.name not in REPORTS):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_identity(spec: str) -> dict[str, Any]:
    """A model's name, hash and fingerprint; on a hub only its name: nothing here says which version was loaded."""
    folder = Path(spec).expanduser()
    if not folder.is_dir():
        return {"name": spec, "sha256": None, "fingerprint": None}
    record = artifacts.read_record(folder)
    return {
        "name": folder.resolve().name,
        "sha256": model_hash(folder),
        "fingerprint": record["fingerprint"] if record else None,
    }
