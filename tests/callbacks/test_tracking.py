from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import wandb.errors

from csrlhf.callbacks import tracking


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without credentials; returns the netrc file that would be read."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modes in which runs were started; an online start fails."""
    started: list[str] = []

    def init(mode: str, **_: Any) -> SimpleNamespace:
        started.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("no route to host\nmore")
        return SimpleNamespace(mode=mode)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setattr(tracking, "WandbLogger", lambda experiment, **_: experiment)
    return started


def test_offline_without_credentials(clean: Path, modes: list[str], tmp_path: Path) -> None:
    assert tracking.wandb_logger("p", str(tmp_path)).mode == "offline"
    assert modes == ["offline"]


def test_an_unreachable_server_costs_one_line(
    clean: Path, modes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking.wandb_logger("p", str(tmp_path)).mode == "offline"
    assert modes == ["online", "offline"]
    assert capsys.readouterr().err.splitlines() == [
        "W&B cannot be reached (no route to host); this run is recorded offline"
    ]


def test_the_environments_mode_has_the_last_word(
    clean: Path, modes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracking.wandb_logger("p", str(tmp_path))
    assert modes == ["disabled"]


def test_credentials_in_netrc_count_for_their_server(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tracking.has_credentials()
    clean.write_text("machine wandb.example login user password secret\n", encoding="utf-8")
    clean.chmod(0o600)
    assert not tracking.has_credentials()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert tracking.has_credentials()
    clean.write_text("broken", encoding="utf-8")
    assert not tracking.has_credentials()
