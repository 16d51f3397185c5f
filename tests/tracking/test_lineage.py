"""Results as artifacts: what is in them, what only referred to; producer and consumer mean the same version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csrlhf.tracking.lineage import SMALL, result_artifact


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result of ``stage=ppo`` with a small file and large weights."""
    folder = tmp_path / "ppo" / "rectified-1a2b3c4d"
    folder.mkdir(parents=True)
    record = {
        "stage": "ppo",
        "artifact": "policy",
        "fingerprint": "1a2b3c4d" * 8,
        "git_commit": "abc",
        "csrlhf": "0.1.0",
        "inputs": {"sft": {"path": "artifacts/sft", "fingerprint": "5e6f"}},
    }
    (folder / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"x" * (SMALL + 1))
    return folder


def test_weights_are_referred_to_unless_they_are_asked_for(result: Path) -> None:
    artifact, aliases = result_artifact(result, "record") or pytest.fail("no artifact")
    assert (artifact.name.split(":")[0], artifact.type) == ("ppo", "policy")
    assert aliases == ["1a2b3c4d", "rectified-1a2b3c4d"]
    assert artifact.metadata["inputs"] == {"sft": "5e6f"}
    entries = artifact.manifest.entries
    assert {name: entry.ref for name, entry in entries.items()} == {
        "csrlhf.json": None,
        "model.safetensors": (result / "model.safetensors").resolve().as_uri(),
    }


def test_weights_are_logged_from_where_they_lie(result: Path) -> None:
    artifact, _ = result_artifact(result, "weights") or pytest.fail("no artifact")
    entry = artifact.manifest.entries["model.safetensors"]
    assert entry.ref is None
    assert entry.local_path == str(result / "model.safetensors")  # not a copy of it


@pytest.mark.parametrize("upload", ["record", "weights"])
def test_the_consumer_means_the_producers_version(result: Path, upload: str) -> None:
    (first, _), (second, _) = (result_artifact(result, upload) or pytest.fail("no artifact") for _ in range(2))
    assert first.digest == second.digest
    (result / "csrlhf.json").write_text((result / "csrlhf.json").read_text().replace("1a2b", "ffff"), encoding="utf-8")
    third, _ = result_artifact(result, upload) or pytest.fail("no artifact")
    assert third.digest != first.digest


def test_what_is_no_result_of_ours_is_no_artifact(tmp_path: Path) -> None:
    assert result_artifact(tmp_path, "record") is None
    assert result_artifact(Path("organisation/model-on-the-hub"), "record") is None
