"""How a W&B run starts: in which mode, with which options, and what happens where W&B says no."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import wandb
import wandb.errors
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from csrlhf.errors import UserError
from csrlhf.tracking import wandb_run


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without credentials; returns the netrc file that would be read."""
    names = ("API_KEY", "MODE", "BASE_URL", "RUN_ID", "RUN_GROUP", "IDENTITY_TOKEN_FILE", "NAME", "TAGS")
    for name in names:
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    wandb.teardown()  # W&B remembers credentials and variables for the process
    return tmp_path / "netrc"


class Starts(list[dict[str, Any]]):
    """The options of each run that was started.

    ``fail`` maps a mode to what it raises, ``chosen`` is the mode of W&B's settings file.
    """

    fail: dict[str, Exception]
    chosen = "online"  # W&B's default


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Starts:
    started = Starts()
    started.fail = {"online": wandb.errors.CommError("no route to host\nmore")}

    def init(**options: Any) -> SimpleNamespace:
        started.append(options)
        if options["mode"] in started.fail:
            raise started.fail[options["mode"]]
        return SimpleNamespace(mode=options["mode"], id="abc", url="http://w", disabled=options["mode"] == "disabled")

    def setup(settings: wandb.Settings) -> SimpleNamespace:
        really(settings)
        return SimpleNamespace(settings=SimpleNamespace(mode=started.chosen))

    really = wandb.setup
    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", setup)
    monkeypatch.setattr(wandb, "teardown", lambda: None)
    monkeypatch.setattr(wandb_run, "WandbRun", lambda run, *_: run)
    return started


def start(tmp_path: Path, **options: Any) -> Any:
    return wandb_run.wandb_logger("p", str(tmp_path), str(tmp_path / "work"), **options)


def modes(starts: Starts) -> list[str]:
    return [options["mode"] for options in starts]


def test_offline_without_credentials(clean: Path, starts: Starts, tmp_path: Path) -> None:
    assert start(tmp_path).mode == "offline"
    assert modes(starts) == ["offline"]


def test_an_unreachable_server_costs_one_line(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert start(tmp_path).mode == "offline"
    assert modes(starts) == ["online", "offline"]
    assert capsys.readouterr().err.splitlines() == [
        "W&B cannot be reached (no route to host); this run is recorded offline"
    ]


def test_an_online_run_says_where_it_is(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    starts.fail = {}
    start(tmp_path)
    assert capsys.readouterr().out == "W&B: http://w\n"


def test_what_cannot_start_at_all_is_disabled_with_one_line(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_binary(*_: Any) -> None:
        raise wandb.errors.WandbCoreNotAvailableError("no binary")

    monkeypatch.setattr(wandb, "setup", no_binary)
    starts.fail = {"offline": wandb.errors.WandbCoreNotAvailableError("no binary")}
    assert start(tmp_path).mode == "disabled"
    assert "W&B cannot start (no binary)" in capsys.readouterr().err
    assert not (tmp_path / "work" / wandb_run.RUN_ID_FILE).exists()


def test_the_environments_mode_has_the_last_word(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for given in ("disabled", "dryrun", "offline"):
        monkeypatch.setenv("WANDB_MODE", given)
        start(tmp_path)
    assert modes(starts) == ["disabled", "offline", "offline"]


@pytest.mark.parametrize("chosen", ["offline", "disabled"])
def test_the_command_wandb_offline_counts(
    chosen: str, clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    starts.chosen = chosen
    start(tmp_path)
    assert modes(starts) == [chosen]


def test_wandbs_variables_stand_in_for_keys(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_NAME", "mine")
    monkeypatch.setenv("WANDB_RUN_GROUP", "pipeline-1")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    start(tmp_path, tags=["sft"])
    start(tmp_path, name="given")
    assert [options["group"] for options in starts] == ["pipeline-1", "pipeline-1"]
    assert [(options["name"], options["tags"]) for options in starts] == [
        ("mine", ["sft", "a", "b"]), ("given", ["a", "b"]),
    ]  # fmt: skip


def test_online_without_credentials_is_offline_and_never_a_prompt(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    start(tmp_path)
    assert modes(starts) == ["offline"]
    assert "there are no credentials" in capsys.readouterr().err


def test_options_reach_the_run(clean: Path, starts: Starts, tmp_path: Path) -> None:
    start(tmp_path, group="g", job_type="sft", tags=["a", 1], notes="why", name="n", entity="e")
    given = {key: starts[0][key] for key in ("project", "group", "job_type", "tags", "notes", "name", "entity")}
    assert given == {"project": "p", "group": "g", "job_type": "sft", "tags": ["a", "1"], "notes": "why",
                     "name": "n", "entity": "e"}  # fmt: skip


def test_a_resumed_stage_goes_on_in_its_run_unless_an_agent_names_another(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(tmp_path)
    start(tmp_path)  # the working folder stands: resume=true
    monkeypatch.setenv("WANDB_RUN_ID", "fromtheagent")
    start(tmp_path)
    assert [options.get("id") for options in starts] == [None, "abc", None]
    assert [options.get("resume") for options in starts] == [None, "allow", None]


def test_other_processes_start_no_run(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert start(tmp_path) is None
    assert not starts


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"upload": "all"}, r"logger\.wandb\.upload=all: use one of none, record, weights"),
        ({"best": {"validation/loss": "low"}}, r"logger\.wandb\.best: validation/loss: low must be min or max"),
    ],
)
def test_a_wrong_key_is_named(
    clean: Path, starts: Starts, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        start(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tags": ["x" * 100]}, r"logger\.wandb: run_tags Value error, Tag '.*' is 100 characters"),
        ({}, r"logger\.wandb: Invalid project name 'a/b': cannot contain"),
    ],
)
def test_a_value_that_wandb_refuses_is_the_users_to_mend(
    clean: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    project = "p" if options else "a/b"
    with pytest.raises(UserError, match=message):
        wandb_run.wandb_logger(project, str(tmp_path), str(tmp_path / "work"), **options)


@pytest.mark.parametrize(
    ("server", "netrc", "mode"),
    [
        ("https://wandb.example", "machine wandb.example login user password " + "0" * 40, "online"),
        ("https://wandb.example", "machine other.example login user password " + "0" * 40, "offline"),
        ("https://wandb.example", "broken", "offline"),
    ],
)
def test_credentials_in_netrc_count_for_their_server(
    server: str, netrc: str, mode: str, clean: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clean.write_text(netrc, encoding="utf-8")
    clean.chmod(0o600)
    monkeypatch.setenv("WANDB_BASE_URL", server)
    assert wandb_run.mode() == mode
    assert capfd.readouterr() == ("", "")


def test_an_identity_token_counts(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_IDENTITY_TOKEN_FILE", "token")
    assert wandb_run.mode() == "online"


def test_a_key_that_cannot_be_one_is_said_and_the_run_is_offline(
    clean: Path, starts: Starts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    assert start(tmp_path).mode == "offline"
    assert "W&B cannot be reached (WANDB_API_KEY invalid" in capsys.readouterr().err
