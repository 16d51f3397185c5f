"""W&B as a tracker that never stands in the way: no prompt, no error, offline when it has to be."""

from __future__ import annotations

import netrc
import os
import sys
from pathlib import Path
from urllib.parse import urlparse

import wandb
import wandb.errors
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


def wandb_logger(
    project: str,
    save_dir: str,
    name: str | None = None,
    entity: str | None = None,
    init_timeout: float = 20.0,
) -> WandbLogger:
    """A WandbLogger, online when credentials are there and the server answers, offline otherwise.

    ``WANDB_MODE`` has the last word where it is set.

    Args:
        project: the W&B project.
        save_dir: the folder that gets the ``wandb`` folder with the run's files.
        name: the run's name.
        entity: user or team; None is the account's default.
        init_timeout: seconds to wait for the server.
    """
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    mode = os.environ.get("WANDB_MODE")
    if mode is None:
        mode = "online" if has_credentials() else "offline"
    if rank_zero_only.rank != 0:  # Lightning gives the other ranks a dummy run
        return WandbLogger(project=project, save_dir=save_dir, offline=True)

    # Started here and not by WandbLogger, which would pass on a deprecated option and a warning with it.
    def start(mode: str) -> WandbLogger:
        settings = wandb.Settings(silent=True, console="off", init_timeout=init_timeout)
        run = wandb.init(
            project=project,
            entity=entity,
            name=name,
            dir=save_dir,
            mode=mode,  # type: ignore[arg-type]  # W&B itself checks WANDB_MODE
            settings=settings,
        )
        return WandbLogger(experiment=run, project=project, save_dir=save_dir)

    try:
        return start(mode)
    except wandb.errors.Error as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"W&B cannot be reached ({reason}); this run is recorded offline", file=sys.stderr, flush=True)
        wandb.teardown()
        return start("offline")


def has_credentials() -> bool:
    """True with an API key in the environment or an entry for the server in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
