"""Results as artifacts: what is in them, what only referred to, and which arrows lead from one run to the next."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
import wandb.errors

from csrlhf.tracking import lineage
from csrlhf.tracking.lineage import SMALL, names_of, result_artifact


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result of ``stage=ppo`` with a small file and large weights."""
    folder = tmp_path / "ppo" / "rectified-1a2b3c4d"
    folder.mkdir(parents=True)
    record = {
        "stage": "ppo",
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
def test_the_same_result_is_the_same_version(result: Path, upload: str) -> None:
    (first, _), (second, _) = (result_artifact(result, upload) or pytest.fail("no artifact") for _ in range(2))
    assert first.digest == second.digest
    (result / "csrlhf.json").write_text((result / "csrlhf.json").read_text().replace("1a2b", "ffff"), encoding="utf-8")
    third, _ = result_artifact(result, upload) or pytest.fail("no artifact")
    assert third.digest != first.digest


def test_what_is_no_result_of_ours_is_no_artifact(tmp_path: Path) -> None:
    assert result_artifact(tmp_path, "record") is None
    assert result_artifact(Path("organisation/model-on-the-hub"), "record") is None


def test_what_is_read_has_the_name_that_it_was_logged_by(result: Path, tmp_path: Path) -> None:
    artifact, aliases = result_artifact(result, "record") or pytest.fail("no artifact")
    [name] = names_of([result, tmp_path, Path("organisation/model-on-the-hub")])
    assert name == f"{artifact.name.split(':')[0]}:{aliases[0]}"


def test_arrows_of_a_project_whose_runs_were_synced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn: list[tuple[str, str]] = []

    def run(name: str, **config: list[str]) -> SimpleNamespace:
        return SimpleNamespace(
            name=name, config=config, entity="e", project="p", use_artifact=lambda path: drawn.append((path, name))
        )

    runs = [run("sft-1a"), run("ppo-2b", uses=["sft:1a", "cost:3c"]), run("evaluate-4d", uses=["ppo:2b", "sft:1a"])]
    api = SimpleNamespace(
        runs=lambda project: {"e/p": runs}[project],
        artifact_exists=lambda path: path in ("e/p/sft:1a", "e/p/ppo:2b"),  # the run of the cost model is not synced
        artifact=lambda path: path,
    )
    monkeypatch.setattr(wandb, "Api", lambda: api)
    monkeypatch.setattr(sys, "argv", ["lineage", "e/p"])
    lineage.main()
    assert drawn == [("e/p/sft:1a", "ppo-2b"), ("e/p/ppo:2b", "evaluate-4d"), ("e/p/sft:1a", "evaluate-4d")]
    assert capsys.readouterr().out.splitlines() == ["sft-1a: -", "ppo-2b: sft:1a", "evaluate-4d: ppo:2b, sft:1a"]


def test_a_server_that_does_not_answer_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable() -> None:
        raise wandb.errors.CommError("no route to host")

    monkeypatch.setattr(wandb, "Api", unreachable)
    monkeypatch.setattr(sys, "argv", ["lineage", "e/p"])
    with pytest.raises(SystemExit, match="2"):
        lineage.main()
    assert capsys.readouterr().err == "e/p: no route to host\n"
