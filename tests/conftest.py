"""What all tests share: no network, no prompts, one thread, and the command line called in-process."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

# Before any library reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


@dataclass(frozen=True)
class Outcome:
    """What a call of the command line did."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture
def command_line(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """``command_line("stage=sft", ...)``: train.py in this process, with its output and exit code."""

    def call(*words: str) -> Outcome:
        from csrlhf import cli, search_path

        path = REPOSITORY / "train.py"
        monkeypatch.setattr(sys, "argv", [str(path), *words])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        spec = importlib.util.spec_from_file_location("train_under_test", path)
        assert spec is not None
        assert spec.loader is not None
        train = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(train)
        search_path.register()
        capfd.readouterr()
        code = cli.call(train.main)
        out, err = capfd.readouterr()
        return Outcome(code, out, err)

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
