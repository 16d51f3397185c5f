"""What all tests share: no network, no prompts, one thread, and the command line called in-process."""

from __future__ import annotations

import gc
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Before any library reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start, too: sums are those of one thread anywhere

import hypothesis
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)

hypothesis.settings.register_profile("any machine", deadline=None)  # a slow one is no reason to fail
hypothesis.settings.load_profile("any machine")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a job in a shell's background: Ctrl-C would reach no test
    signal.signal(signal.SIGINT, signal.default_int_handler)

PATIENCE = 240.0
"""Seconds after which processes that wait for each other are given up."""


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line did."""

    code: int
    out: str
    err: str


LONGEST = ("test_wandb_offline.py", "test_habits.py")
"""Files whose single tests take a minute: first, that no process is left alone with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests first; the others as they lie."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def only_new_objects_are_looked_at() -> None:
    """What lives when a file's tests begin is no matter of garbage any more: a million objects of the libraries.

    Each collection took up to a third of a second, and libraries ask for one wherever they like (statsmodels in every
    correction of p-values).
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def each_choice_of_configs_is_read_once() -> Iterator[ModuleType]:
    """Here, and in the processes of stages, which the tests' server forks."""
    quick = of_this_folder("quick_configs", "quick_configs_here")
    from csrlhf.runs import processes

    with pytest.MonkeyPatch.context() as patch, quick.composed_once():
        patch.setattr(sys, "path", [*sys.path, str(REPOSITORY / "tests")])  # where the server looks as it starts
        patch.setattr(processes, "PRELOAD", (*processes.PRELOAD, quick.MODULE))
        yield quick


def of_this_folder(file: str, name: str) -> ModuleType:
    """A module of this folder (tests are no package, so it is loaded by its path)."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tests" / f"{file}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def train() -> Callable[..., int]:
    """``train("stage=sft", ...)``: train.py in this process; returns the exit code."""

    def call(*words: str) -> int:
        from csrlhf.apps import cli
        from csrlhf.config import search_path

        path = REPOSITORY / "train.py"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [str(path), *words])
            patch.delenv("HYDRA_FULL_ERROR", raising=False)
            spec = importlib.util.spec_from_file_location("train_under_test", path)
            assert spec is not None
            assert spec.loader is not None
            program = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(program)
            search_path.register()
            return cli.call(program.main)

    return call


@pytest.fixture
def command_line(capfd: pytest.CaptureFixture[str], train: Callable[..., int]) -> Callable[..., Outcome]:
    """``command_line("stage=sft", ...)``: as ``train``, with the output."""

    def call(*words: str) -> Outcome:
        capfd.readouterr()
        code = train(*words)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def on_two_processes() -> Callable[[Callable[[int], None]], list[int | None]]:
    """``on_two_processes(work)``: calls ``work(rank)`` in two processes joined over gloo.

    They are forked (the libraries are loaded already) with the variables that a multi-process launcher sets. Returns
    their exit codes; None for one that never ends.
    """

    def call(work: Callable[[int], None]) -> list[int | None]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def start(rank: int) -> None:
            variables = {
                "LOCAL_RANK": rank,
                "NODE_RANK": 0,
                "WORLD_SIZE": 2,
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": port,
            }
            os.environ.update({name: str(value) for name, value in variables.items()})
            work(rank)

        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=start, args=(rank,)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PATIENCE)
        codes = [process.exitcode for process in processes]
        for process in processes:
            process.kill()
        return codes

    return call


@pytest.fixture(scope="session")
def beside() -> Callable[[str, str], ModuleType]:
    """``beside("training/letters", "letters")``: a module that lies among the tests."""
    return of_this_folder


@pytest.fixture(scope="session")
def tiny() -> ModuleType:
    """The small world of ``tiny.py``."""
    return of_this_folder("tiny", "tiny_world")


@pytest.fixture(scope="session")
def folders(tiny: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folders of random models of the small world: sft, reward, cost, cost_two, ppo."""
    return tiny.make_folders(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with the documented my_penalty.py in it, which no later test finds loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_penalty", raising=False)
    page = (REPOSITORY / "docs" / "tutorials" / "add_a_penalty.md").read_text(encoding="utf-8")
    code = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "my_penalty.py").write_text(code, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ppo(folders: Any, tmp_path: Path) -> list[str]:
    """Words of a PPO stage on the small world: four answers an iteration, two iterations."""
    rows = [
        {"prompt": f"{a} {b}", "response": "yes no", "stars": i % 5}
        for i, (a, b) in enumerate(["ab", "cd", "ef", "gh"])
    ]
    table = tmp_path / "rows.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    inputs = [f"inputs.{name}={getattr(folders, name)}" for name in ("sft", "reward", "cost")]
    sizes = ["ppo.iterations=2", "ppo.eval_every=1", "ppo.batch_size=4", "ppo.minibatch_size=4", "ppo.critic_warmup=1"]
    quiet = ["logger=none", "callbacks.progress.every=1000.0", "callbacks.plots=null", "leaks=ignore"]
    quiet += ["ppo.selection.on_collapse=ignore"]
    data = ["data=jsonl", f"data.train={table}", f"data.validation={table}", "rollout.max_new_tokens=4"]
    reachable = ["constraints.harm.threshold=0.9"]  # by four answers
    return ["stage=ppo", f"artifacts={tmp_path / 'a'}", *inputs, *sizes, *quiet, *data, *reachable]


@pytest.fixture
def prompt_data(tiny: ModuleType) -> Callable[..., Any]:
    """``prompt_data(batch_size=...)``: eight prompts an iteration, one iteration an epoch."""

    from csrlhf.data.prompts import PromptDataModule
    from csrlhf.data.settings import PromptSettings

    def make(source: Any = None, **changes: Any) -> PromptDataModule:
        options: dict[str, Any] = {"batch_size": 8, "max_prompt_tokens": 16, "eval_every": 1} | changes
        others = {"eval_batch_size": 8} | {
            name: options.pop(name) for name in ("seed", "eval_batch_size") if name in options
        }
        return PromptDataModule(source or tiny.Source(), tiny.tokenizer(), PromptSettings(**options), **others)

    return make
