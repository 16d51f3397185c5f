"""W&B as a tracker that never stands in the way: no prompt, no error, offline when it has to be."""

from __future__ import annotations

import netrc
import os
import sys
from pathlib import Path
from urllib.parse import urlparse

from lightning.pytorch.loggers import WandbLogger


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
    import wandb

    Path(save_dir).mkdir(parents=True, exist_ok=True)

    def build(offline: bool) -> WandbLogger:
        settings = wandb.Settings(silent=True, console="off", init_timeout=init_timeout)
        logger = WandbLogger(
            name=name, project=project, entity=entity, save_dir=save_dir, offline=offline, settings=settings
        )
        _ = logger.experiment  # starts the run now, so that a failure is met here
        return logger

    mode = os.environ.get("WANDB_MODE")
    offline = mode == "offline" if mode else not has_credentials()
    if offline:
        return build(offline=True)
    try:
        return build(offline=False)
    except wandb.errors.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"W&B cannot be reached ({reason}); this run is recorded offline", file=sys.stderr, flush=True)
        wandb.teardown()
        return build(offline=True)


def has_credentials() -> bool:
    """True with an API key in the environment or an entry for the server in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(str(path)).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
