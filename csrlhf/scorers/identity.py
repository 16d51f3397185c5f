"""What identifies a scorer in a certificate: hashes of files and of code, a URL with its model's name, and the keys."""

from __future__ import annotations

from typing import Any

from csrlhf.models.loading import model_folder, model_hash, model_identity, weights_hash
from csrlhf.scorers.specs import as_spec, description_hash, is_description, label, source_fingerprint, sources


def scorer_hash(given: Any) -> str:
    """sha256 over the files of a scorer's models, the source of its function, its URL, and the keys that describe it.

    Raises:
        UserError: a model's files are not here, so that nothing says which version its name stands for.
    """
    spec = as_spec(given)
    if not is_description(spec):
        return model_hash(model_folder(str(spec)))
    return description_hash(spec, _hash_of)


def _hash_of(key: str, source: str) -> str:
    return model_hash(model_folder(source)) if _is_model(key) else source_fingerprint(key, source)


def _is_model(key: str) -> bool:
    """Whether a key of ``specs.sources`` names a model's files."""
    return key.rpartition(".")[2] not in ("url", "function")


def scorer_identity(given: Any) -> dict[str, Any]:
    """A scorer's name, its hash, and the fingerprint of the stage that made it, where one did."""
    spec = as_spec(given)
    if not is_description(spec):
        return model_identity(str(spec))
    return {"name": label(spec), "sha256": scorer_hash(spec), "fingerprint": None}


def words_of(given: Any) -> set[str]:
    """All by which a scorer, or a part of it, is known again: fingerprints and hashes of models, code, URLs.

    Two scorers that share one rest on the same model.
    """
    spec = as_spec(given)
    found: set[str] = set()
    for key, source in sources(spec, "scorer"):
        if _is_model(key):
            identity = model_identity(source)
            found |= {identity["fingerprint"], identity["sha256"], weights_hash(source)}
        else:
            found.add(source_fingerprint(key, source))
    if is_description(spec) and "url" in spec:
        found = {label(spec)}  # several models may be served under one URL
    return found - {None}  # type: ignore[arg-type]  # no None is left
