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

from csrlhf.config import schema, search_path
from csrlhf.config.schema import RecipeSettings
from csrlhf.runs.stages.base import declaration
from csrlhf.settings import Settings

CONF = Path(__file__).resolve().parent.parent / "conf"
STAGES = ["sft", "reward", "cost", "ppo", "evaluate"]
GROUPS = sorted({path.parent.name for path in CONF.rglob("*.yaml")} - {"conf", "hydra"})
PLUGGED = ("penalty", "constraint", "advantage", "rollout", "optimizer", "data")
LISTINGS = [
    *((name, f"{name}/default.yaml", "") for name in ("sft", "reward", "cost", "ppo", "certify", "decode")),
    ("evaluate", "evaluate/default.yaml", "evaluate"),
    ("cost_evaluation", "evaluate/cost_model.yaml", "evaluate"),
    ("score", "model_defaults.yaml", "score"),
    *(("tuning", "model_defaults.yaml", f"{role}.tuning") for role in ("policy", "critic")),
]
"""The commented YAML of each of the settings, and where in it they stand."""
CHOICES = sorted(f"{path.parent.name}={path.stem}" for path in CONF.rglob("*.yaml") if path.parent.name in GROUPS)


ALONE = sorted(
    word
    for word in CHOICES
    if word.split("=")[0] in ("stage", "experiment", "debug", "model")
    if word != "stage=pipeline"
)
"""Choices that bring others with them, which those of a round replace."""


def load(*words: str) -> DictConfig:
    search_path.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=list(words))
    OmegaConf.set_struct(cfg, False)
    cfg.work = "work"
    if OmegaConf.is_missing(cfg.data, "folder"):  # where somebody's files lie
        cfg.data.folder = "files"
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

    With each stage a choice meets others. Only half of the rounds have an experiment, whose values are meant for its
    own choices.
    """
    shift = STAGES.index(stage) + 1
    groups = [[word for word in CHOICES if word.startswith(f"{group}=")] for group in GROUPS if group != "stage"]
    longest = max(map(len, groups))
    together = [[group[(turn + shift * k) % len(group)] for k, group in enumerate(groups)] for turn in range(longest)]
    experiments = {word for word in CHOICES if word.startswith("experiment=")}
    return [
        [word for word in words if (turn < len(experiments)) == bool(shift % 2) or word not in experiments]
        for turn, words in enumerate(together)
    ]


ROUNDS = [(stage, words) for stage in STAGES for words in rounds(stage)]


def has_experiment(words: list[str]) -> bool:
    return any(word.startswith("experiment=") for word in words)


def test_every_stage_meets_every_choice() -> None:
    for stage in STAGES:
        met = {word for of, words in ROUNDS if of == stage for word in words}
        assert met == {word for word in CHOICES if not word.startswith("stage=")}
    checked = {word for _, words in ROUNDS if not has_experiment(words) for word in words} | {*ALONE}
    assert checked | {"data=toy"} == {*CHOICES} - {"stage=pipeline"}  # the toy world: in all of ALONE


@pytest.mark.parametrize(
    ("stage", "words"), ROUNDS, ids=lambda value: " ".join(value) if isinstance(value, list) else value
)
def test_every_choice_composes_with_every_stage(stage: str, words: list[str]) -> None:
    cfg = load(f"stage={stage}", *words)
    if has_experiment(words):
        OmegaConf.to_container(cfg, resolve=True)
    else:
        check_keys(cfg)


def test_the_pipeline_composes() -> None:
    OmegaConf.to_container(load("stage=pipeline"), resolve=True)


@pytest.mark.parametrize("choice", ALONE)
def test_a_stage_alone_and_a_choice_that_brings_others_compose(choice: str) -> None:
    check_keys(load(*([choice] if choice.startswith("stage=") else ["stage=ppo", choice])))


def check_keys(cfg: DictConfig) -> None:
    """Every key of every object is an argument of its constructor, and none that it needs is missing."""
    given_later = {"tokenizer"}  # the runner hands it to the DataModule
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


LOCATIONS = {"train", "validation", "test"}
"""Keys of a data source that say where a public set's rows lie, and how many are held out."""


def defaults_of(made: Any) -> dict[str, Any]:
    """The defaults of a constructor, those that it hands on to its bases included."""
    found: dict[str, Any] = {}
    for kind in reversed(inspect.getmro(made)):
        if "__init__" in vars(kind) and kind is not object:
            found |= {name: item.default for name, item in inspect.signature(kind).parameters.items()}
    return {name: default for name, default in found.items() if default is not inspect.Parameter.empty}


def plain(value: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.create({"value": value}))["value"]  # type: ignore[index]  # a mapping


@pytest.mark.parametrize("path", [path for group in PLUGGED for path in sorted((CONF / group).glob("*.yaml"))], ids=str)
def test_an_object_s_yaml_has_its_constructor_s_defaults(path: Path) -> None:
    raw: Any = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    nodes = dict(targets(raw))
    if (path.parent.name == "constraint" and len(nodes) > 1) or path.name == "safe_chat.yaml":
        return  # a whole set: what each constraint or source of it is for is said there
    for node in nodes.values():
        known = defaults_of(get_object(node["_target_"]))
        for name in {name for name in node if name in known} - LOCATIONS:
            assert "${" in str(node[name]) or node[name] == plain(known[name]), f"{path}: {name}"


def leaves(node: Any, key: str = "") -> dict[str, Any]:
    """The values of a container by dotted key; objects are values."""
    if not isinstance(node, dict) or not node or "_target_" in node:
        return {key: node}
    return {
        name: leaf
        for word, part in node.items()
        for name, leaf in leaves(part, f"{key}.{word}" if key else word).items()
    }


def settings_of(kind: type[Settings]) -> dict[str, Any]:
    return leaves(OmegaConf.to_container(OmegaConf.structured(kind)))


@pytest.mark.parametrize(("name", "file", "key"), LISTINGS)
def test_the_commented_listing_of_settings_is_complete_and_has_their_defaults(name: str, file: str, key: str) -> None:
    raw = OmegaConf.select(OmegaConf.load(CONF / file), key) if key else OmegaConf.load(CONF / file)
    listed = leaves(
        {name: value for name, value in OmegaConf.to_container(raw, resolve=False).items() if name != "defaults"}
    )
    known = settings_of(schema.SCHEMAS[name])
    assert listed.keys() == known.keys()
    references = {name for name, value in listed.items() if "${" in str(value)}
    assert {name: value for name, value in listed.items() if name not in references} == {
        name: value for name, value in known.items() if name not in references
    }


WRITTEN = {
    "toy": ["toy"],
    "minilm": ["toy", "minilm_scores"],
    "pretrained": ["llm"],
    "smollm2": ["minilm_scores", "smollm2"],
    "smollm2_frozen": ["minilm_scores", "smollm2", "smollm2_frozen"],
}
"""The recipe files that make each model's recipe, the later over the earlier."""


def recipe_of(files: list[str]) -> dict[str, Any]:
    """What is written: the defaults of all settings, and a recipe's files over them."""
    groups = ("sft", "reward", "cost", "ppo", "evaluate", "certify", "decode")
    known = {f"{group}.{name}": value for group in groups for name, value in settings_of(schema.SCHEMAS[group]).items()}
    known |= {f"model.score.{name}": value for name, value in settings_of(schema.SCHEMAS["score"]).items()}
    known |= {f"recipe.{name}": value for name, value in settings_of(RecipeSettings).items()}
    for file in files:
        raw: Any = OmegaConf.to_container(OmegaConf.load(CONF / "recipe" / f"{file}.yaml"), resolve=False)
        written = leaves({name: value for name, value in raw.items() if name != "defaults"})
        assert written.keys() <= known.keys()
        known |= written
    return known


def effective(*words: str) -> dict[str, Any]:
    cfg: Any = OmegaConf.to_container(load(*words), resolve=False)
    found = {}
    for key in recipe_of([]):
        node = cfg
        for word in key.split("."):
            node = node[word]
        found[key] = node
    return found


def unlike(found: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    weights = ("model.score.backbone", "model.score.pooling", "model.score.options",
               "model.score.rows_per_pass", "model.score.head_bias", "model.score.tuning",
               "model.score.chat")  # fmt: skip
    return {
        key: value for key, value in found.items()
        if value != written[key] and "${" not in str(value) and not key.startswith(weights)
    }  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("model", sorted(path.stem for path in CONF.glob("model/*.yaml")))
def test_every_model_is_trained_as_its_recipe_is_written(model: str, stage: str) -> None:
    """So that no number of the toy world can reach a pretrained model."""
    assert unlike(effective(f"model={model}", f"stage={stage}"), recipe_of(WRITTEN[model])) == {}


def test_a_recipe_that_is_named_wins_over_the_model_s_and_an_experiment_over_both() -> None:
    assert unlike(effective("recipe=llm"), recipe_of([])) == {}
    assert unlike(effective("model=pretrained", "recipe=toy"), recipe_of(["toy"])) == {}
    assert unlike(effective("experiment=smoke"), recipe_of(["toy"]))["sft.epochs"] == 1


def test_a_model_of_somebody_else_s_that_names_no_recipe_gets_no_number_of_the_toy_world(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    text = "# @package _global_\nmodel: {policy: {path: their/weights}}\n"
    (tmp_path / "model" / "theirs.yaml").write_text(text, encoding="utf-8")
    assert unlike(effective(f"hydra.searchpath=[file://{tmp_path}]", "model=theirs"), recipe_of([])) == {}


@pytest.mark.parametrize("stage", STAGES)
def test_consumed_keys_exist_and_cover_what_the_stage_refers_to(stage: str) -> None:
    """A key that changes the module or the data must change the fingerprint."""
    cfg = load(f"stage={stage}")
    consumed = declaration(cfg.stage.declaration).consumes
    for key in consumed:
        assert OmegaConf.select(cfg, key, throw_on_missing=True) is not None
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    free = ("inputs", "batch_size", "eval_batch_size", "evaluate.batch_size", "ppo.batch_size", "work")
    parts = [raw["module"], raw["datamodule"], raw["trainer"]["max_epochs"]]
    if stage == "evaluate":  # module and datamodule are references themselves
        parts = [*raw["evaluation"].values(), raw["trainer"]["max_epochs"]]
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
