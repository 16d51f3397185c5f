"""The record of a local sweep, an Optuna study in ``study.journal``, and the choice of what to run next.

A grid is in W&B's order (parameters by name, the last one moves fastest), random points are Optuna's seeded draws, and
``bayes`` asks its tree-structured Parzen estimator (Bergstra et al., 2011). Several threads, calls and machines may
share the journal: one chooses at a time, and a run belongs to whoever holds the lock on its name. A run whose trial
says RUNNING while nobody holds its lock was killed, and is gone on with first.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
import statistics
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from csrlhf import __version__
from csrlhf.errors import UserError
from csrlhf.sweeping.pool import held
from csrlhf.sweeping.spec import Spec, listed, words_of
from csrlhf.sweeping.table import FAILED, FINISHED, Row

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce each study

JOURNAL = "study.journal"
NAME = "sweep"
OBJECTIVE = {"name": "selection/score", "goal": "maximize"}
"""What runs are compared by where the sweep file names no metric."""

STARTUP = 5
"""So many points bayes draws at random before it learns: a sweep has tens of runs, not Optuna's usual hundreds."""

ATTEMPTS = 50
"""So many suggestions that were made before end a bayes sweep: few choices are used up."""

LONGEST_NAME = 80
EDGE = 1e-6
"""A share is drawn between this and 1 less this: the ends of a normal distribution are infinite."""

Parameters = dict[str, Any]
"""A run's values by key, keys in order; or what Optuna has drawn for them, which ``values_of`` turns into values."""


@dataclass(frozen=True)
class Trial:
    """A run that is this call's to make: its number in the study, and what holds it until its end is recorded."""

    study: Study
    number: int
    name: str
    parameters: Parameters
    lock: IO[str]


class Study:
    """One call's view of a sweep's record.

    Args:
        spec: the sweep file.
        out: the sweep's folder.
        count: the most runs; None is the whole grid, or the file's ``run_cap``.
        seed: of random and bayes.

    Raises:
        UserError: random and bayes have no end.
    """

    def __init__(self, spec: Spec, out: Path, count: int | None = None, seed: int = 0) -> None:
        self.spec, self.out, self.seed = spec, out, seed
        self._space = space(spec)
        self._points = None if spec.method == "bayes" else {self._name(of): of for of in drawn(spec, count, seed)}
        self.limit = limit_of(spec, count) if self._points is None else len(self._points)
        self._metric, goal = (spec.metric or OBJECTIVE)["name"], (spec.metric or OBJECTIVE).get("goal", "minimize")
        self._tried: dict[str, IO[str]] = {}
        with self._choosing():  # which makes the folder
            _mend(out / JOURNAL)
            self._storage = JournalStorage(JournalFileBackend(str(out / JOURNAL)))
            self._study = optuna.create_study(
                study_name=NAME, storage=self._storage, direction=StudyDirection[goal.upper()], load_if_exists=True
            )

    @property
    def begun(self) -> bool:
        """Whether runs have ended here, or another call is making them."""
        with self._choosing():
            return any(trial.state.is_finished() or self._hold(name) is None for name, trial in self._latest().items())

    def points(self) -> list[Parameters]:
        """All runs' parameters, of bayes those that have been suggested so far."""
        return [values_of(self.spec, point) for point in self._wanted(self._latest()).values()]

    def missing(self) -> int:
        """How many runs are not finished."""
        latest = self._latest()
        return self.limit - sum(self._done(latest.get(name)) for name in self._wanted(latest))

    def take(self) -> Trial | None:
        """The next run to make: a half one first, then what is missing or has failed, once in a call.

        Returns:
            None where nothing is left to do for this call.
        """
        with self._choosing():
            latest = self._latest()
            wanted = self._wanted(latest)
            half = {name for name, trial in latest.items() if trial.state == TrialState.RUNNING}
            for name in sorted(wanted, key=lambda name: name not in half):
                if name not in self._tried and not self._done(latest.get(name)) and (lock := self._hold(name)):
                    return self._begun(name, wanted[name], lock, latest.get(name))
            if self._points is None and len(wanted) < self.limit:
                for point in self._suggestions():
                    name = self._name(point)
                    if name not in wanted and (lock := self._hold(name)):
                        return self._begun(name, point, lock, None)
        return None

    def finish(self, trial: Trial, row: Row, seconds: float, threads: int) -> None:
        """Records a finished run.

        Raises:
            UserError: bayes has nothing to learn from.
        """
        value = row.get(self._metric)
        if self._points is None and self._metric not in row:
            there = f"there are {', '.join(sorted(key for key in row if '/' in key))}"
            raise UserError(f"{self.spec.name}: metric.name={self._metric}: the runs have no such key; {there}")
        if not (isinstance(value, int | float) and math.isfinite(value)):
            value = None  # Optuna learns from a pruned trial that it was no good one
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        self._tell(trial, state, value, row=row, seconds=seconds, threads=threads)

    def fail(self, trial: Trial, row: Row) -> None:
        """Records a run that has ended with an error; the next call tries it again."""
        self._tell(trial, TrialState.FAIL, None, row=row)

    def rows(self) -> list[Row]:
        """The table's rows, of the present points and of earlier ones, in the order in which they ended."""
        ended = [(name, trial) for name, trial in self._latest().items() if trial.state.is_finished()]
        return [_row(name, trial) for name, trial in sorted(ended, key=lambda one: str(one[1].datetime_complete))]

    def seconds_of_a_run(self, threads: int) -> float | None:
        """What a run with so many threads has taken in this folder, by median."""
        found = [trial.user_attrs for trial in self._latest().values()]
        seconds = [of["seconds"] for of in found if of.get("threads") == threads]
        return statistics.median(seconds) if seconds else None

    def close(self) -> None:
        """Lets go of runs that were stopped; the next call goes on with them."""
        for lock in self._tried.values():
            lock.close()

    def _choosing(self) -> IO[str]:
        return held(self.out / ".choosing")

    def _hold(self, name: str) -> IO[str] | None:
        try:
            return held(self.out / ".running" / name, wait=False)
        except BlockingIOError:
            return None

    def _latest(self) -> dict[str, FrozenTrial]:
        """The last trial of each run."""
        return {trial.user_attrs["run"]: trial for trial in self._study.get_trials(deepcopy=False)}

    def _wanted(self, latest: Mapping[str, FrozenTrial]) -> dict[str, Parameters]:
        """Points by run; of bayes those that have been suggested so far."""
        if self._points is not None:
            return self._points
        known = ((name, trial.params) for name, trial in latest.items() if trial.distributions == self._space)
        return dict(itertools.islice(known, self.limit))

    def _done(self, trial: FrozenTrial | None) -> bool:
        """Whether this version has finished the run, and its result stands."""
        if trial is None or not _finished(trial) or trial.user_attrs["version"] != __version__:
            return False
        return (result_of(self.out, trial.user_attrs["run"]) / "metrics.json").is_file()

    def _suggestions(self) -> Iterator[Parameters]:
        """Bayes: points by what the finished runs have shown, away from those that are on their way."""
        trials = self._study.get_trials(deepcopy=False)
        known = [trial for trial in trials if trial.distributions == self._space]
        sampler = TPESampler(n_startup_trials=STARTUP, seed=self.seed + len(trials))
        return _asked(self._space, sampler, ATTEMPTS, self._study.direction, known)

    def _begun(self, name: str, point: Parameters, lock: IO[str], before: FrozenTrial | None) -> Trial:
        self._tried[name] = lock
        parameters = values_of(self.spec, point)
        if before is None or before.state.is_finished() or before.user_attrs["version"] != __version__:
            known = {"run": name, "parameters": parameters, "version": __version__}
            self._study.add_trial(
                create_trial(state=TrialState.RUNNING, params=dict(point), distributions=self._space, user_attrs=known)
            )
        return Trial(self, self._latest()[name].number, name, parameters, lock)

    def _tell(self, trial: Trial, state: TrialState, value: float | None, **attributes: Any) -> None:
        with self._choosing():  # nobody is to see the lock free and the trial not ended
            study = self._storage.get_study_id_from_name(NAME)
            place = self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
            for key, content in attributes.items():
                self._storage.set_trial_user_attr(place, key, content)
            self._study.tell(trial.number, value, state)
            trial.lock.close()

    def _name(self, point: Parameters) -> str:
        return run_name(values_of(self.spec, point), self.spec.varied)


def limit_of(spec: Spec, count: int | None) -> int:
    """How many runs random and bayes make."""
    limit = count if count is not None else spec.run_cap
    if limit is None:
        raise UserError(f"--count: method={spec.method} has no end of its own; say how many runs (or run_cap)")
    return limit


def space(spec: Spec) -> dict[str, BaseDistribution]:
    """The search space as Optuna's distributions, by name; a grid is made of choices alone."""
    return {key: _distribution(spec.parameters[key], spec.method) for key in sorted(spec.parameters)}


def values_of(spec: Spec, point: Mapping[str, Any]) -> Parameters:
    """What a run is handed, by name, of what Optuna has drawn; a grid's choices are the values."""
    grid = spec.method == "grid"
    return {key: point[key] if grid else _value(spec.parameters[key], point[key]) for key in sorted(point)}


def result_of(out: Path, name: str) -> Path:
    """Where a run's result stands."""
    return out / "ppo" / name


def run_name(parameters: Mapping[str, Any], varied: Sequence[str]) -> str:
    """A folder's name: ``multiplier=4.0+threshold=0.03``, or a hash where that is long or no folder's name."""
    short = {key: key.rsplit(".", 1)[-1] for key in varied}
    if len(set(short.values())) < len(short):
        short = {key: key for key in varied}
    name = "+".join(f"{short[key]}={parameters[key]}" for key in sorted(varied))
    if name and len(name) <= LONGEST_NAME and re.fullmatch(r"\w[\w.=+-]*", name):
        return name
    return "run-" + hashlib.sha256(json.dumps(words_of(parameters)).encode()).hexdigest()[:10]


def drawn(spec: Spec, count: int | None, seed: int) -> list[Parameters]:
    """The grid's points, at most ``run_cap``; or ``count`` random ones, the first of them those of a smaller count."""
    found = space(spec)
    if spec.method == "random":
        return list(_asked(found, RandomSampler(seed=seed), limit_of(spec, count)))
    points = itertools.product(*(_choices(spec.parameters[key]) for key in found))
    limits = [limit for limit in (count, spec.run_cap) if limit is not None]
    return [dict(zip(found, point, strict=True)) for point in itertools.islice(points, min(limits, default=None))]


def _asked(
    found: Mapping[str, BaseDistribution],
    sampler: BaseSampler,
    count: int,
    direction: StudyDirection = StudyDirection.MINIMIZE,
    known: Sequence[FrozenTrial] = (),
) -> Iterator[Parameters]:
    """Points that a sampler suggests one after the other; nothing is recorded."""
    study = optuna.create_study(direction=direction, sampler=sampler)
    study.add_trials(known)
    return (study.ask(dict(found)).params for _ in range(count))


def _mend(journal: Path) -> None:
    """Cuts off a line that a power cut or a full disk has torn: Optuna would write its next one behind it."""
    content = journal.read_bytes() if journal.is_file() else b""
    if content and not content.endswith(b"\n"):
        os.truncate(journal, content.rfind(b"\n") + 1)


def _distribution(parameter: Mapping[str, Any], method: str) -> BaseDistribution:
    """W&B's distribution as Optuna's; what Optuna has none of is drawn as a share, from 0 to 1."""
    kind = _kind(parameter)
    if method != "grid" and ("probabilities" in parameter or "normal" in kind):
        return FloatDistribution(EDGE, 1 - EDGE)
    if method == "grid" or listed(parameter):
        return CategoricalDistribution(_choices(parameter))
    low, high = parameter["min"], parameter["max"]
    if kind == "int_uniform":
        return IntDistribution(low, high)
    if kind == "log_uniform":
        low, high = math.exp(low), math.exp(high)
    elif kind == "inv_log_uniform":
        low, high = math.exp(-high), math.exp(-low)
    return FloatDistribution(low, high, log="log" in kind)


def _value(parameter: Mapping[str, Any], drawn: Any) -> Any:
    """The run's value of what was drawn: the share's quantile, rounded to a multiple of ``q``."""
    if "probabilities" in parameter:
        steps = list(itertools.accumulate(parameter["probabilities"]))
        return parameter["values"][min(bisect(steps, drawn), len(steps) - 1)]
    if "normal" in (kind := _kind(parameter)):
        drawn = statistics.NormalDist(parameter.get("mu", 0.0), parameter.get("sigma", 1.0)).inv_cdf(drawn)
        drawn = math.exp(drawn) if "log" in kind else drawn
    if not parameter.get("distribution", "").startswith("q_"):
        return drawn
    step = parameter.get("q", 1.0)
    return round(drawn / step) * step


def _kind(parameter: Mapping[str, Any]) -> str:
    """The distribution's name without rounding: W&B takes whole numbers between two whole ones."""
    whole = isinstance(parameter.get("min"), int) and isinstance(parameter.get("max"), int)
    return parameter.get("distribution", "int_uniform" if whole else "uniform").removeprefix("q_")


def _choices(parameter: Mapping[str, Any]) -> Sequence[Any]:
    """A parameter's points on a grid."""
    if (values := listed(parameter)) is not None:
        return values
    low, high = parameter["min"], parameter["max"]
    if parameter.get("distribution") == "q_uniform":
        import numpy as np

        return np.arange(low, high, parameter.get("q", 1.0)).tolist()
    return range(low, high + 1)


def _finished(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


def _row(name: str, trial: FrozenTrial) -> Row:
    known, status = trial.user_attrs, FINISHED if _finished(trial) else FAILED
    head = {"id": name, "status": status, "overrides": " ".join(words_of(known["parameters"]))}
    return head | {"seconds": known.get("seconds")} | known["parameters"] | known["row"]
