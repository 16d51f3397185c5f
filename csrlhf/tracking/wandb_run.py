"""The W&B run of a stage: Lightning's logger, with inputs, result and plots, which never stops a training.

A tracker is there to watch. Whatever fails in it (its process died, the disk is full) ends the recording with one line;
the stage goes on, and ``history.csv`` has every metric.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wandb
import wandb.errors
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

from csrlhf.tracking.lineage import result_artifact

FAILURES = (wandb.errors.Error, OSError, HandleAbandonedError, MailboxClosedError)
"""What W&B raises when it cannot go on: a lost service or network (ConnectionError), a full disk, its own errors."""


REFUSALS = (ValueError, TypeError, AttributeError)
"""What it raises of an artifact that it does not take: the project has one of this name and another type, or the method
without a public counterpart (``begin_stage``) is another one in this version."""


class WandbRun(WandbLogger):
    """Records a stage in a W&B run.

    Args:
        run: the started run; None on all processes but the first.
        title: the run's name where the user gave one.
        project: as in ``wandb_logger``.
        save_dir: as in ``wandb_logger``.
        upload: as in ``wandb_logger``.
        step_metric: as in ``wandb_logger``.
        best: as in ``wandb_logger``.
        patience: seconds that the beginning or the end of a stage may take, whatever the network does.
    """

    def __init__(
        self,
        run: wandb.Run | None,
        title: str | None,
        project: str,
        save_dir: str,
        upload: str,
        step_metric: str,
        best: Mapping[str, str],
        patience: float,
    ) -> None:
        super().__init__(experiment=run, project=project, save_dir=save_dir)
        self.title, self.upload, self.step_metric, self.patience = title, upload, step_metric, patience
        self.recording = run is not None
        if run is not None:
            self._attempt(lambda: self._define_metrics(run, best))

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any]) -> None:  # type: ignore[override]  # Lightning: Namespace too
        self._attempt(lambda: super(WandbRun, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = dict(metrics) if step is None else {**metrics, self.step_metric: step}
        self._attempt(lambda: self.experiment.log(row))

    @rank_zero_only
    def log_table(self, key: str, columns: list[Any], data: list[Any], step: int | None = None) -> None:  # type: ignore[override]  # no data frames here
        """Logs rows as a table, kept at each step."""
        self._attempt(lambda: self.log_metrics({key: wandb.Table(columns=columns, data=data)}, step))

    @rank_zero_only
    def log_figures(self, figures: Mapping[str, Any]) -> None:
        """Logs matplotlib figures as images, by their keys."""
        self._attempt(lambda: self.log_metrics({key: wandb.Image(figure) for key, figure in figures.items()}))

    @rank_zero_only
    def begin_stage(self, title: str, inputs: Mapping[str, str]) -> None:
        """Names the run and marks the results that it reads (see ``StageLogger``)."""

        def begin() -> None:
            if self.title is None:
                self.experiment.name = title
            for given in inputs.values():
                # use_artifact() refuses to work offline, and waits for the upload online. This is what it calls; the
                # mark is recorded in both modes and becomes an arrow when the run is synced.
                self._with_artifact(
                    Path(given),
                    lambda artifact, aliases: self.experiment._log_artifact(
                        artifact, aliases=aliases, is_user_created=True, use_after_commit=True
                    ),
                )

        self._attempt(lambda: self._patiently(begin))

    @rank_zero_only
    def end_stage(self, folder: Path) -> None:
        """Logs the result's plots and files, and ends the run (see ``StageLogger``)."""

        def end() -> None:
            plots = sorted((folder / "plots").glob("*.png"))
            if plots:
                self.experiment.log({f"plots/{path.stem}": wandb.Image(str(path)) for path in plots})
            self._with_artifact(
                folder,
                lambda artifact, aliases: self.experiment.log_artifact(artifact, aliases=[*aliases, "latest"]),
            )

        self._attempt(lambda: self._patiently(end))
        self._finish(exit_code=0)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        # Lightning calls this after fit, validate and test; only a failure is the end.
        if status != "success":
            self._finish(exit_code=1)

    def _define_metrics(self, run: wandb.Run, best: Mapping[str, str]) -> None:
        run.define_metric(self.step_metric, hidden=True)
        run.define_metric("*", step_metric=self.step_metric, step_sync=True)
        for key, which in best.items():
            run.define_metric(key, step_metric=self.step_metric, step_sync=True, summary=f"{which},last")

    def _with_artifact(self, folder: Path, action: Callable[[wandb.Artifact, list[str]], Any]) -> None:
        """Logs the artifact of a result to W&B; without it the lineage is in the config (``provenance``)."""
        if self.upload == "none" or self.experiment.disabled:
            return
        found = result_artifact(folder, self.upload)
        if found is not None:
            try:
                action(*found)
            except REFUSALS as error:
                _say(f"W&B does not take {folder} as an artifact ({reason(error)})")

    def _patiently(self, action: Callable[[], None]) -> None:
        """Runs an action that may ask the server, and gives up waiting for it after a while.

        Raises:
            TimeoutError: it takes longer than ``patience``.
        """
        errors: list[BaseException] = []

        def call() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001  # raised again below, in the caller's thread
                errors.append(error)

        thread = threading.Thread(target=call, name="wandb", daemon=True)
        thread.start()
        thread.join(self.patience)
        if thread.is_alive():
            raise TimeoutError(f"no answer in {self.patience:g} s")
        if errors:
            raise errors[0]

    def _attempt(self, action: Callable[[], None]) -> None:
        """Runs an action of W&B; a failure ends the recording, not the training."""
        if not self.recording:
            return
        try:
            action()
        except FAILURES as error:
            self.recording = False
            _say(f"W&B stopped recording ({reason(error)}); the stage continues, history.csv has every metric")

    def _finish(self, exit_code: int) -> None:
        """Ends the run. W&B's own exit hook does not run in processes that the pipeline starts."""
        self._attempt(lambda: self.experiment.finish(exit_code=exit_code))
        if not self.recording:
            with contextlib.suppress(*FAILURES):  # else a hook at exit tries to reach the lost service once more
                wandb.teardown()
        self.recording = False


def reason(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
