"""The W&B run of a stage: how it starts, and what Lightning's logger records in it beside numbers.

A tracker is there to watch: it asks for nothing, is offline where it has to be, and never stops a training. Whatever
fails in it (its process died, the disk is full) ends the recording with one line; the stage goes on, and
``history.csv`` has every metric.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
import wandb.errors
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from csrlhf.errors import UserError
from csrlhf.tracking.lineage import LATER, UPLOADS, USES, draw_arrows, names_of, result_artifact

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
    silent = wandb.Settings(silent=True)
    chosen = given or wandb.setup(silent).settings.mode
    chosen = {"run": "online", "dryrun": "offline"}.get(chosen, chosen)  # W&B's older words
    if chosen != "online" or (wandb.setup(silent) and wandb.login(prompt=False, verify=False)):
        return chosen
    if given:
        _say(f"WANDB_MODE={given}, but there are no credentials (wandb login); this run is recorded offline")
    return "offline"


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
            used = [] if self.upload == "none" or self.experiment.disabled else names_of(map(Path, inputs.values()))
            if used:
                self.experiment.config.update({USES: used})
            try:
                if used and not self.experiment.offline:
                    draw_arrows(self.experiment, wandb.Api())
            except (wandb.errors.Error, ValueError) as error:
                _say(f"W&B draws no arrow from {', '.join(used)} ({_reason(error)}); {LATER} does")

        self._attempt(lambda: self._patiently(begin))

    @rank_zero_only
    def end_stage(self, folder: Path) -> None:
        """Logs the result's plots and files, and ends the run (see ``StageLogger``)."""

        def end() -> None:
            plots = sorted((folder / "plots").glob("*.png"))
            if plots:
                self.experiment.log({f"plots/{path.stem}": wandb.Image(str(path)) for path in plots})
            found = None if self.upload == "none" or self.experiment.disabled else result_artifact(folder, self.upload)
            try:
                if found is not None:
                    self.experiment.log_artifact(found[0], aliases=[*found[1], "latest"])
            except (ValueError, TypeError) as error:  # say, the project has one of this name and another type
                _say(f"W&B does not take {folder} as an artifact ({_reason(error)})")

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
        except Exception as error:
            if not _is_wandbs(error):
                raise
            self.recording = False
            _say(f"W&B stopped recording ({_reason(error)}); the stage continues, history.csv has every metric")

    def _finish(self, exit_code: int) -> None:
        """Ends the run. W&B's own exit hook does not run in processes that the pipeline starts."""
        self._attempt(lambda: self.experiment.finish(exit_code=exit_code))
        if not self.recording:
            with contextlib.suppress(Exception):  # else a hook at exit tries to reach the lost service once more
                wandb.teardown()
        self.recording = False


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
        if wanted == "online":
            run = init(wanted)
            print(f"W&B: {run.url}", flush=True)
            return run
    except Exception as error:
        if not _is_wandbs(error):
            raise
        problem = f"W&B cannot be reached ({_reason(error)}); this run is recorded offline"
        wandb.teardown()
        wanted = "offline"
    try:
        run = init(wanted)
    except wandb.errors.UsageError as error:  # a value that it refuses in every mode
        raise UserError(f"logger.wandb: {_reason(error)}") from error
    except Exception as error:
        if not _is_wandbs(error):
            raise
        problem = f"W&B cannot start ({_reason(error)}); history.csv has every metric"
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


def _is_wandbs(error: Exception) -> bool:
    """True for W&B's ways to say that it cannot go on: a lost service or network, a full disk, its own errors.

    These have no class in common; those of a service that has died are public by no name but their package's.
    """
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "wandb"


def _reason(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error) or type(error).__name__).splitlines()[0]


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
