"""What all tests share: no network, no prompts, one thread, and the command line called in-process."""

from __future__ import annotations

import copy
import dataclasses
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


LONGEST = ("test_smoke.py", "test_habits.py")
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
def each_choice_of_configs_is_read_once() -> Iterator[None]:
    """Hydra reads some thirty files for a composition; here the same choice of files is put together once.

    That was three quarters of the time of tests that call the command line. Values that are overridden
    (``ppo.clip=0.1``) are applied each time as ever; what is kept is the sum of the files before that, for each order
    of group overrides (``penalty=pid``), and each file as it was parsed. Config folders other than the repository's
    (plug-ins', and those that tests write) are known by what their files hold.
    """
    from hydra._internal import config_loader_impl, defaults_list
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.config_store import ConfigStore

    from csrlhf.config import search_path

    known: dict[Any, Any] = {}
    composed: dict[int, Any] = {}
    create, put_together = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    ours = f"file://{search_path.conf_folder()}"

    def held(source: Any) -> Any:
        """What a source is known by."""
        if source.scheme() != "file" or source.full_path() == ours:
            return source.full_path()
        files = sorted(Path(source.path).rglob("*.yaml"))
        return source.full_path(), tuple((str(file), file.read_bytes()) for file in files)

    def create_once(repo: Any, config_name: Any, overrides_list: Any, **options: bool) -> Any:
        sources = [held(source) for source in repo.get_sources()]
        overrides = defaults_list.Overrides(repo=repo, overrides_list=overrides_list)
        values = {id(override) for override in overrides.config_overrides}
        groups = tuple(override.input_line for override in overrides_list if id(override) not in values)
        key = (*sources, config_name, *groups, *options.items())
        if key not in known:
            known[key] = create(repo, config_name, overrides_list, **options)
            composed[id(known[key].defaults)] = None
        return dataclasses.replace(known[key], config_overrides=overrides.config_overrides)

    def put_together_once(loader: ConfigLoaderImpl, defaults: Any, repo: Any) -> Any:
        if composed[id(defaults)] is None:
            composed[id(defaults)] = put_together(loader, defaults, repo)
        return copy.deepcopy(composed[id(defaults)])

    search_path.register()
    files: dict[str, Any] = {}
    folders = SourcesRegistry.instance().resolve("file")  # Hydra's own copy of the class, not the one to import
    read = folders.load_config

    def read_once(source: Any, config_path: str) -> Any:
        if source.full_path() != ours:
            return read(source, config_path)
        if config_path not in files:
            files[config_path] = read(source, config_path)
        return copy.deepcopy(files[config_path])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "load_config", read_once)
        patch.setattr(ConfigStore, "__deepcopy__", lambda store, _: store, raising=False)  # what it gives is a copy
        patch.setattr(config_loader_impl, "create_defaults_list", create_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", put_together_once)
        yield


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
def tiny() -> ModuleType:
    """The small world of ``tiny.py`` (tests are no package, so it is loaded by its path)."""
    spec = importlib.util.spec_from_file_location("tiny_world", REPOSITORY / "tests" / "tiny.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
