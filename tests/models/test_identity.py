"""What identifies a model: its files, wherever they lie."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from csrlhf.errors import UserError
from csrlhf.models.loading import model_hash, model_identity


def test_the_hash_is_of_the_weights(folders: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folders.ppo, copy)
    (copy / "metrics.json").write_text("{}", encoding="utf-8")
    assert model_hash(copy) == model_hash(Path(folders.ppo)) != model_hash(Path(folders.sft))


def test_a_name_on_a_hub_is_the_snapshot_that_was_loaded(
    folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="owner/policy: a name alone does not say which weights are meant"):
        model_identity("owner/policy")
    cache = tmp_path / "models--owner--policy"
    shutil.copytree(folders.ppo, cache / "snapshots" / "abc")
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc", encoding="utf-8")
    found = model_identity("owner/policy")
    assert (found["name"], found["sha256"]) == ("owner/policy", model_hash(Path(folders.ppo)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file of a model"):
        model_identity(str(tmp_path / "empty"))
