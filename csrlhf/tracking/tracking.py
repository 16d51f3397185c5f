"""Starts the W&B run of a stage: no prompt, no error, offline when it has to be.

``wandb_run.py`` defines what is recorded in the run.
"""

from __future__ import annotations

import netrc
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import wandb
import wandb.errors
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from csrlhf.errors import UserError
from csrlhf.tracking.lineage import UPLOADS
from csrlhf.tracking.wandb_run import FAILURES, WandbRun, reason

RUN_ID_FILE = "wandb_run_id"
"""Below the working folder: ``resume=true`` goes on in the same run."""


def wandb_logger(
    project: str,
    save_dir: str,
    work: str,
    name: str | None = None,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    notes: str | None = None,
    upload: str = "record",
    step_metric: str = "trainer/global_step",
    best: Mapping[str, str] | None = None,
    init_timeout: float = 20.0,
    finish_timeout: float = 60.0,
) -> WandbRun:
    """A logger whose run is online when credentials are there and the server answers, offline otherwise.

    ``WANDB_MODE`` has the last word where it is set, and so has ``WANDB_RUN_ID``, which a sweep's agent sets. W&B's
    other variables stand in for arguments that are None (the pipeline sets ``WANDB_RUN_GROUP``); ``WANDB_TAGS`` adds
    tags.

    Args:
        project: the W&B project.
        save_dir: the folder that gets the ``wandb`` folder with the run's files.
        work: the stage's working folder; remembers the run's id until the stage has ended.
        name: the run's name; None is the stage's own (``sft-1a2b3c4d``).
        entity: user or team; None is the account's default.
        group: runs that belong together; None is the pipeline's.
        job_type: the stage.
        tags: labels to filter runs by.
        notes: a sentence about the run.
        upload: what the artifacts hold, one of ``none``, ``record``, ``weights`` (``lineage.py``).
        step_metric: the key that is the x axis of all curves.
        best: keys whose best value the summary shows beside the last: ``{"validation/loss": "min"}``.
        init_timeout: seconds to wait for the server at the start.
        finish_timeout: seconds to wait for uploads at the end; what is missing then can be synced (``wandb sync``).

    Raises:
        UserError: a value that W&B refuses, or an unknown ``upload`` or ``best``.
    """
    if upload not in UPLOADS:
        raise UserError(f"logger.wandb.upload={upload}: use one of {', '.join(UPLOADS)}")
    for key, which in (best or {}).items():
        if which not in ("min", "max"):
            raise UserError(f"logger.wandb.best: {key}: {which} must be min or max")
    options: dict[str, Any] = {
        "project": project,
        "entity": entity,
        "name": name or os.environ.get("WANDB_NAME"),
        "group": group or os.environ.get("WANDB_RUN_GROUP"),
        "job_type": job_type,
        "tags": [*map(str, tags), *filter(None, os.environ.get("WANDB_TAGS", "").split(","))],
        "notes": notes,
        "dir": save_dir,
    }
    run = None
    if rank_zero_only.rank == 0:  # Lightning gives the other ranks a dummy run
        Path(save_dir).mkdir(parents=True, exist_ok=True)
        # Where copies of artifact files wait for their upload: with the run, not in the home folder.
        os.environ.setdefault("WANDB_DATA_DIR", str(Path(save_dir).resolve() / "wandb" / "staging"))
        # Silent: W&B's own lines tell of its folders at length, and of a login at each stage.
        settings = wandb.Settings(silent=True, console="off", init_timeout=init_timeout, finish_timeout=finish_timeout)
        run = _start(options | _resumed(Path(work)), settings)
        _remember(run, Path(work))
    return WandbRun(run, options["name"], project, save_dir, upload, step_metric, best or {}, finish_timeout)


def mode() -> str:
    """The mode that the user chose, and of online and offline the one that asks for no login.

    Chosen is what ``WANDB_MODE`` says, else what the commands ``wandb offline`` and ``wandb disabled`` have left in
    this folder.
    """
    given = os.environ.get("WANDB_MODE")
    chosen = given or wandb.setup(wandb.Settings(silent=True)).settings.mode
    chosen = {"run": "online", "dryrun": "offline"}.get(chosen, chosen)  # W&B's older words
    if chosen != "online" or has_credentials():
        return chosen
    if given:
        _say(f"WANDB_MODE={given}, but there are no credentials (wandb login); this run is recorded offline")
    return "offline"


def has_credentials() -> bool:
    """True with an API key or identity token in the environment or an entry for the server in the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _start(options: dict[str, Any], settings: wandb.Settings) -> wandb.Run:
    """Starts the run in the first mode that works: online, offline, disabled."""

    def init(mode: str) -> wandb.Run:
        # Started here and not by Lightning's logger, which would pass on a deprecated option and a warning with it.
        try:
            return wandb.init(mode=mode, settings=settings, **options)  # type: ignore[arg-type]  # W&B checks the mode
        except ValueError as error:  # pydantic's: a heading, then the field, then what is wrong with it
            lines = [line.strip() for line in str(error).split(" [type=")[0].splitlines()]
            raise UserError(f"logger.wandb: {' '.join(lines[1:]) or lines[0]}") from error

    problem = ""
    try:
        wanted = mode()
    except FAILURES:
        wanted = "offline"  # which fails as well, and says why
    if wanted == "online":
        try:
            run = init("online")
            print(f"W&B: {run.url}", flush=True)
            return run
        except FAILURES as error:
            problem = f"W&B cannot be reached ({reason(error)}); this run is recorded offline"
            wandb.teardown()
            wanted = "offline"
    try:
        run = init(wanted)
    except wandb.errors.UsageError as error:  # a value that it refuses in every mode
        raise UserError(f"logger.wandb: {reason(error)}") from error
    except FAILURES as error:
        problem = f"W&B cannot start ({reason(error)}); history.csv has every metric"
        wandb.teardown()
        run = init("disabled")
    if problem:
        _say(problem)
    return run


def _resumed(work: Path) -> dict[str, Any]:
    """The id of the run that a resumed stage goes on in."""
    file = work / RUN_ID_FILE
    if os.environ.get("WANDB_RUN_ID") or not file.exists():
        return {}
    return {"id": file.read_text(encoding="utf-8").strip(), "resume": "allow"}


def _remember(run: wandb.Run, work: Path) -> None:
    if not run.disabled:
        work.mkdir(parents=True, exist_ok=True)
        (work / RUN_ID_FILE).write_text(run.id, encoding="utf-8")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
