"""Every YAML composes, and what it describes can be built (constructors are cheap, nothing is downloaded)."""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from csrlhf.config import search_path

CONF = Path(__file__).resolve().parent.parent / "conf"
STAGES = ["sft", "reward", "cost", "ppo", "evaluate"]
GROUPS = sorted({path.parent.name for path in CONF.rglob("*.yaml")} - {"conf", "hydra"})
CHOICES = sorted(f"{path.parent.name}={path.stem}" for path in CONF.rglob("*.yaml") if path.parent.name in GROUPS)


def load(*words: str) -> DictConfig:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=list(words))
    OmegaConf.set_struct(cfg, False)
    cfg.work = "work"
    for name in cfg.inputs:
        cfg.inputs[name] = f"artifacts/{name}"
    return cfg


def targets(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All nodes with a ``_target_``, with their dotted paths."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets(value, f"{path}.{key}" if path else str(key))


def rounds(stage: str) -> list[list[str]]:
    """Choices of all groups but ``stage`` at once, as often as the largest group has some.

    With each stage a choice meets others. Alone it is composed in ``test_every_key_is_a_constructor_argument``.
    """
    shift = STAGES.index(stage) + 1
    groups = [[word for word in CHOICES if word.startswith(f"{group}=")] for group in GROUPS if group != "stage"]
    longest = max(map(len, groups))
    return [[group[(turn + shift * k) % len(group)] for k, group in enumerate(groups)] for turn in range(longest)]


ROUNDS = [(stage, words) for stage in STAGES for words in rounds(stage)]


def test_every_stage_meets_every_choice() -> None:
    for stage in STAGES:
        met = {word for of, words in ROUNDS if of == stage for word in words}
        assert met == {word for word in CHOICES if not word.startswith("stage=")}


@pytest.mark.parametrize(
    ("stage", "words"), ROUNDS, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_every_choice_composes_with_every_stage(stage: str, words: list[str]) -> None:
    OmegaConf.to_container(load(f"stage={stage}", *words), resolve=True)


@pytest.mark.parametrize("choice", [word for word in CHOICES if word.startswith("stage=")])
def test_every_stage_composes(choice: str) -> None:
    OmegaConf.to_container(load(choice), resolve=True)


@pytest.mark.parametrize("choice", [choice for choice in CHOICES if choice != "stage=pipeline"])
def test_every_key_is_a_constructor_argument(choice: str) -> None:
    given_later = {"tokenizer"}  # the runner hands it to the DataModule
    cfg = load(*([choice] if choice.startswith("stage=") else ["stage=ppo", choice]))
    found = dict(targets(OmegaConf.to_container(cfg, resolve=True)))
    assert found
    for path, node in found.items():
        parameters = inspect.signature(get_object(node["_target_"])).parameters
        keys = {key for key in node if not key.startswith("_")}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert keys <= set(parameters), f"{path}: {sorted(keys - set(parameters))} is read by nobody"
        needed = {
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        }
        assert needed <= keys | given_later, f"{path}: lacks {sorted(needed - keys)}"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("model", sorted(path.stem for path in CONF.glob("model/*.yaml") if path.stem != "toy"))
def test_no_limit_of_the_toy_world_s_steps_reaches_a_real_model(model: str, stage: str) -> None:
    """Its reward model stops at 600: real data are trained on for as many epochs as the recipe says."""
    cfg = load(f"stage={stage}", f"model={model}")
    assert OmegaConf.select(cfg, "trainer.max_steps", default=-1) == -1


def test_no_size_of_the_toy_world_reaches_a_pretrained_causal_model() -> None:
    """Its texts have a few words of a small vocabulary: lengths are too short, batches too large, steps too long."""
    toy, pretrained = load("stage=ppo"), load("stage=ppo", "model=pretrained")
    longer = ["sft.max_tokens", "model.score.max_tokens", "ppo.max_prompt_tokens", "rollout.max_new_tokens"]
    smaller = [f"{name}.batch_size" for name in ("sft", "reward", "cost", "evaluate", "certify", "decode")]
    smaller += ["reward.eval_batch_size", "cost.eval_batch_size", "ppo.minibatch_size"]
    smaller += [f"{name}.optimizer.lr" for name in ("sft", "reward", "cost")]
    smaller += ["ppo.policy_optimizer.lr", "ppo.critic_optimizer.lr"]
    assert [key for key in longer if OmegaConf.select(pretrained, key) <= OmegaConf.select(toy, key)] == []
    assert [key for key in smaller if OmegaConf.select(pretrained, key) >= OmegaConf.select(toy, key)] == []


@pytest.mark.parametrize("stage", STAGES)
def test_consumed_keys_exist_and_cover_what_the_stage_refers_to(stage: str) -> None:
    """A key that changes the module or the data must change the fingerprint."""
    cfg = load(f"stage={stage}")
    consumed = list(cfg.stage.consumes)
    for key in consumed:
        assert OmegaConf.select(cfg, key, throw_on_missing=True) is not None
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    free = ("inputs", "batch_size", "eval_batch_size", "evaluate.batch_size", "ppo.batch_size", "work")
    parts = [raw["module"], raw["datamodule"], raw["trainer"]["max_epochs"]]
    if stage == "evaluate":  # module and datamodule are references themselves
        parts += [raw["evaluate"]["module"], raw["evaluate"]["datamodule"]]
    for reference in references(parts):
        covered = any(reference == key or reference.startswith(f"{key}.") for key in consumed)
        assert covered or reference.startswith(free), f"{stage} refers to {reference}, which it does not consume"


def references(node: Any) -> set[str]:
    """The keys of all ``${key}`` in a container."""
    return set(re.findall(r"\$\{([\w.]+)\}", str(node)))


def test_a_stage_per_pipeline_key() -> None:
    cfg = load("stage=pipeline")
    assert list(cfg.stage.stages) == list(cfg.pipeline) == STAGES


def test_the_wheel_lists_every_package() -> None:
    root = CONF.parent
    with (root / "pyproject.toml").open("rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    found = {".".join(path.parent.relative_to(root).parts) for path in (root / "csrlhf").rglob("*.py")}
    assert listed == found | {"csrlhf.conf"}
