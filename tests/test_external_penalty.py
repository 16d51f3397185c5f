"""``examples/external_penalty``: its strategy, its state, and its installation into a fresh environment."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from csrlhf.errors import UserError
from csrlhf.tracking.history import read_history

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "external_penalty"
LARGE = st.floats(-1e6, 1e6)


@pytest.fixture(scope="module")
def switch() -> Callable[..., Any]:
    """``switch(names, alpha=...)``: the strategy, set up for these constraints."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        from external_penalty.cvar_switch import (  # pyright: ignore[reportMissingImports]  # lies in examples/
            CVaRSwitch,
        )

    def make(names: tuple[str, ...] = ("harm",), **keys: Any) -> Any:
        strategy = CVaRSwitch(**keys)
        strategy.setup(names)
        return strategy

    return make


def K(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_without_a_memory_it_switches_at_the_tolerance(switch: Callable) -> None:
    strategy = switch(tolerance=0.01, gain=0.0)
    for _ in range(3):
        met, broken = strategy.weights(K(0.01)), strategy.weights(K(0.02))
        assert (met.reward, met.cost_K.tolist(), met.total) == (1, [0], 1)
        assert (broken.reward, broken.cost_K.tolist(), broken.total) == (0, [1], 1)
        strategy.update(K(0.5))


def test_the_tolerance_follows_the_worst_of_the_last_violations(switch: Callable) -> None:
    strategy = switch(window=4, alpha=0.5, gain=0.5)
    assert float(strategy.tolerance_K()) == 0.0
    seen = {0.04: -0.02, -1.0: -0.02, 0.02: -0.015, -0.5: -0.015, -0.1: -0.005, -0.2: -0.005, -0.3: 0.0}
    for (
        violation,
        tolerance,
    ) in seen.items():  # half of those remembered: 0.04 | 0.04 | .04, .02 | ... | .02, 0 | ... | 0
        strategy.update(K(violation))
        assert float(strategy.metrics()["penalty/tolerance"]) == pytest.approx(tolerance), violation
    strategy.update(K(0.2))
    assert strategy.weights(K(-0.04)).reward == 0  # met, but not by far enough after that: tail (0.2, 0)
    assert strategy.weights(K(-0.06)).reward == 1


def test_the_tail_of_ten_at_seven_tenths_is_three(switch: Callable) -> None:
    """``(1 - 0.7) · 10`` is a little more than 3 in floating point."""
    strategy = switch(window=10, alpha=0.7, gain=1.0)
    for tenths in range(1, 11):
        strategy.update(K(tenths / 10))
    assert float(strategy.tolerance_K()) == pytest.approx(-0.9)


def test_costs_of_several_constraints_share_the_weight(switch: Callable) -> None:
    strategy = switch(("harm", "privacy", "bias"))
    strategy.update(K(0.4, 0.0, 0.0))
    assert strategy.weights(K(-0.1, 0.1, -0.1)).cost_K.tolist() == [0.5, 0.5, 0.0]
    assert strategy.metrics().keys() == {f"penalty/{name}/tolerance" for name in ("harm", "privacy", "bias")}


@given(violations=st.lists(st.tuples(LARGE, LARGE), min_size=1, max_size=12), alpha=st.floats(0, 0.99))
def test_weights_sum_to_one_and_rise_with_the_violation(switch: Callable, violations: list, alpha: float) -> None:
    strategy = switch(("harm", "privacy"), alpha=alpha, window=5)
    for pair in violations:
        weights = strategy.weights(K(*pair))
        assert float(weights.reward + weights.cost_K.sum()) == pytest.approx(1)
        assert float(weights.reward) in (0.0, 1.0)
        assert bool((weights.cost_K >= 0).all())
        worse = strategy.weights(K(*pair) + 1.0)
        assert bool(((worse.cost_K > 0) >= (weights.cost_K > 0)).all())
        assert bool((strategy.tolerance_K() <= 0).all())
        strategy.update(K(*pair))


def test_its_memory_comes_back_with_a_checkpoint(switch: Callable) -> None:
    first, second = switch(window=3), switch(window=3)
    for violation in (0.1, 0.2, -0.1, 0.3):
        first.update(K(violation))
    second.load_state_dict(first.state_dict())
    for violation in (0.05, -0.2, -0.3):
        assert torch.equal(first.tolerance_K(), second.tolerance_K())
        first.update(K(violation))
        second.update(K(violation))
    assert int(second.num_seen) == 7


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"tolerance": -0.1}, r"penalty\.tolerance=-0\.1"),
        ({"window": 0}, r"penalty\.window=0"),
        ({"alpha": 1.0}, r"penalty\.alpha=1\.0"),
        ({"gain": float("nan")}, r"penalty\.gain=nan"),
    ],
)
def test_values_out_of_range_are_refused(switch: Callable, keys: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        switch(**keys)


def test_its_yaml_says_the_constructor_s_values(switch: Callable) -> None:
    keys: Any = OmegaConf.to_container(OmegaConf.load(EXAMPLE / "external_penalty/conf/penalty/cvar_switch.yaml"))
    keys.pop("_target_")
    made, default = switch(**keys), switch()
    assert {key: getattr(made, key) for key in keys} == {key: getattr(default, key) for key in keys}


def words(folders: Any, folder: Path) -> list[str]:
    """A PPO stage of six iterations on the small world, a checkpoint after every second."""
    table = folder / "rows.jsonl"
    table.write_text("\n".join(json.dumps({"prompt": p}) for p in ("a b", "c d", "e f", "g h")), encoding="utf-8")
    return [
        "stage=ppo", "penalty=cvar_switch", "penalty.window=3", f"artifacts={folder / 'a'}", "name=run", "logger=none",
        *(f"inputs.{name}={getattr(folders, name)}" for name in ("sft", "reward", "cost")),
        "ppo.iterations=6", "ppo.eval_every=2", "ppo.batch_size=4", "ppo.minibatch_size=4", "ppo.critic_warmup=1",
        "callbacks.progress.every=1000.0", "callbacks.plots=null", "ppo.selection.on_collapse=ignore", "leaks=ignore",
        "rollout.max_new_tokens=4", "data=jsonl", f"data.train={table}", f"data.validation={table}",
        "constraints.harm.threshold=0.9", "constraints.harm.tau=-100.0",
    ]  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("options", [[], ["--editable"]], ids=["normal", "editable"])
def test_it_works_in_a_fresh_environment(options: list[str], folders: Any, tmp_path: Path) -> None:
    """pip install, then the choice is there, trains, and goes on after an interruption where it stopped."""
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    python = fresh / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}

    def run(*command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([str(python), *command], env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    place = run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    known = [path for path in sys.path if path.endswith("site-packages")] or site.getsitepackages()
    Path(place, "libraries.pth").write_text("\n".join(known), encoding="utf-8")  # all but what is tested
    source = shutil.copytree(EXAMPLE, tmp_path / "source", ignore=shutil.ignore_patterns("build", "*.egg-info"))
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    run("-m", "pip", "install", *offline, *options, str(source))

    train = str(ROOT / "train.py")
    listed = run(train, "stage=ppo", "penalty=cvar_swich", code=1).stderr
    assert "did you mean penalty=cvar_switch?" in listed
    if options:
        assert "window: 3" in run(train, "stage=ppo", "penalty=cvar_switch", "penalty.window=3", "--cfg", "job").stdout
        return
    run(train, *words(folders, tmp_path))
    record = json.loads((tmp_path / "a" / "ppo" / "run" / "csrlhf.json").read_text(encoding="utf-8"))
    assert record["plugins"]["external_penalty"]["version"] == "0.1.0"
    tolerances = [row["penalty/tolerance"] for row in read_history(tmp_path / "a" / "ppo" / "run" / "history.csv")
                  if "penalty/tolerance" in row]  # fmt: skip
    assert len(tolerances) == 6
    assert min(tolerances) == pytest.approx(-0.05)  # every answer counts as unsafe: 0.5 · (1 - 0.9)


def test_a_broken_run_goes_on_with_its_memory(
    switch: Callable, command_line: Callable, folders: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``resume=true`` and a run in one piece end with the same history."""
    from importlib.metadata import EntryPoint

    from csrlhf.config import search_path
    from csrlhf.training.ppo.policy import PolicyModule

    monkeypatch.syspath_prepend(str(EXAMPLE))
    point = EntryPoint("external_penalty", "external_penalty.conf", search_path.ENTRY_POINT_GROUP)
    monkeypatch.setattr(search_path, "entry_points", lambda group: [point])
    histories = []
    step = PolicyModule.training_step

    def fails(module: PolicyModule, *batch: Any) -> None:
        if int(module.iteration) == 5:
            raise UserError("stopped here")
        step(module, *batch)

    for broken in (False, True):
        given = [*words(folders, tmp_path), f"artifacts={tmp_path / str(broken)}"]
        if broken:
            monkeypatch.setattr(PolicyModule, "training_step", fails)
            assert "stopped here; the last good checkpoint" in command_line(*given).err
            monkeypatch.setattr(PolicyModule, "training_step", step)
            given.append("resume=true")
        outcome = command_line(*given)
        assert outcome.code == 0, outcome.err
        assert ("resuming from" in outcome.out) == broken
        rows = read_history(tmp_path / str(broken) / "ppo" / "run" / "history.csv")
        histories.append([row["penalty/tolerance"] for row in rows if "penalty/tolerance" in row])
    assert len(histories[0]) == 6
    assert histories[1] == pytest.approx(histories[0])
    assert len(set(histories[0])) > 1
