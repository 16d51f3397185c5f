"""Which runs a sweep consists of: every point of the grid, or points drawn by W&B's own rules.

Random and bayes come from W&B's open-source package ``sweeps`` (``pip install wandb[sweeps]``). The grid is in that
package's order: parameters by name, the last one moves fastest.
"""

from __future__ import annotations

import itertools
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from csrlhf.errors import UserError
from csrlhf.sweeping.spec import Spec

Parameters = dict[str, Any]
"""A run's values by key, keys in order."""


@dataclass(frozen=True)
class Tried:
    """What bayes learns from: a run that was started.

    Attributes:
        parameters: of the run.
        value: the metric, None where the run has not ended well.
        failed: whether it has ended with an error.
    """

    parameters: Mapping[str, Any]
    value: float | None
    failed: bool = False


def grid(spec: Spec, count: int | None = None) -> list[Parameters]:
    """The points of the grid, at most ``count`` and at most ``run_cap``."""
    names = sorted(spec.parameters)
    points = itertools.product(*(_values(spec.parameters[name]) for name in names))
    limits = [limit for limit in (count, spec.run_cap) if limit is not None]
    return [dict(zip(names, point, strict=True)) for point in itertools.islice(points, min(limits, default=None))]


def drawn(spec: Spec, count: int, seed: int) -> list[Parameters]:
    """``count`` random points; the first of them are those of a smaller count."""
    sweeps = _package(spec)
    with _seeded(seed):
        found = sweeps.next_runs(_config(spec), [], n=count)
    return [_plain(run.config) for run in found]


def improved(spec: Spec, tried: Sequence[Tried], count: int, seed: int) -> list[Parameters]:
    """``count`` points where a Gaussian process over the runs so far expects an improvement."""
    sweeps = _package(spec)
    name = spec.metric["name"]

    def run(one: Tried) -> Any:
        state = "failed" if one.failed else "running" if one.value is None else "finished"
        summary = {} if one.value is None else {name: one.value}
        config = {key: {"value": value} for key, value in one.parameters.items()}
        return sweeps.SweepRun(config=config, state=state, summaryMetrics=summary)

    with _seeded(seed + len(tried)):
        found = sweeps.next_runs(_config(spec), [run(one) for one in tried], n=count)
    return [_plain(run.config) for run in found]


def _values(parameter: Mapping[str, Any]) -> Sequence[Any]:
    """A parameter's points on a grid."""
    if "value" in parameter:
        return [parameter["value"]]
    if "values" in parameter:
        return parameter["values"]
    low, high = parameter["min"], parameter["max"]
    if parameter.get("distribution") == "q_uniform":
        import numpy as np

        return np.arange(low, high, parameter.get("q", 1.0)).tolist()
    return range(low, high + 1)


def _config(spec: Spec) -> dict[str, Any]:
    """What the package reads; it knows no ``run_cap``, and a goal of its own spelling alone."""
    parts: dict[str, Any] = {
        "method": spec.method,
        "parameters": {key: dict(of) for key, of in spec.parameters.items()},
    }
    if spec.metric:
        parts["metric"] = {"goal": "minimize", **spec.metric}
    return parts


def _package(spec: Spec) -> Any:
    try:
        with warnings.catch_warnings():  # of pydantic, about the package's own classes
            warnings.simplefilter("ignore")
            import sweeps
    except ImportError as error:
        raise UserError(
            f"method={spec.method}: needs W&B's package of search rules (pip install 'wandb[sweeps]'); "
            "method: grid works without it"
        ) from error
    problems = sweeps.schema_violations_from_proposed_config(_config(spec))
    if problems:
        raise UserError(f"{spec.name}: {'; '.join(problems)}")
    return sweeps


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The package draws from the global generators; they are put back."""
    import numpy as np

    python, legacy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with warnings.catch_warnings():  # of the Gaussian process, where all runs so far lie close together
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def _plain(config: Mapping[str, Mapping[str, Any]]) -> Parameters:
    """Python's numbers in place of numpy's, which would be written as ``np.float64(1.0)`` somewhere."""
    values = {key: of["value"] for key, of in sorted(config.items())}
    return {key: value.item() if hasattr(value, "item") else value for key, value in values.items()}
