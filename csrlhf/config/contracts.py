"""Whether the classes that a config names can stand where they are named: asked before they are built.

Looks at the objects that people may bring (docs/how-to/extend.md): is the class there, does it take the keys, is it of
the right kind. Errors name the keys that people type. What a class computes is checked where it is used.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from csrlhf.config import plugins
from csrlhf.errors import UserError

PLACES = {"penalty": "penalty", "constraints": "constraints", "advantage": "advantage", "sampler": "rollout",
          "source": "data"}  # fmt: skip
"""The arguments of modules and DataModules that are such objects, and the keys that people type for them."""

BASES = {
    "penalty": ("csrlhf.penalties.base.Penalty", ("weights", "shape")),
    "constraints": ("csrlhf.constraints.base.Constraint", ("sample_costs", "forward")),
    "rollout": ("csrlhf.generation.sampler.Sampler", ()),
}
"""By key: the class that it has to inherit from, and methods of which it has to bring at least one."""

CALLS = {
    "penalty": {
        "setup": ("constraints",), "weights": ("violation_K",), "update": ("violation_K",),
        "shape": ("reward_B", "cost_BK", "threshold_K"), "metrics": (),
    },
    "constraints": {
        "sample_costs": ("cost_logits_B",), "terms": ("cost_B", "cost_N"), "kappa": ("count",),
        "forward": ("cost_logits_B", "gather", "remember"),
    },
    "rollout": {
        "distribution": ("logits", "step", "ends", "truncate"),
        "__call__": ("model", "tokenizer", "batch", "seed", "iteration"),
    },
}  # fmt: skip
"""By key: the methods that a class may bring in the place of its base's, and what each of them is handed, in order."""

SOURCE_METHODS = ("prompts", "demonstrations", "preferences", "labelled", "hashes")


def check_stage(*parts: Mapping[str, Any]) -> None:
    """Looks at the objects that people may bring.

    Args:
        parts: the configs of a stage's module and DataModule, resolved to plain containers.

    Raises:
        UserError: names the key, the class, and what it lacks.
    """
    for part in parts:
        if "_target_" not in part:  # +module.seed=3 where module is ${evaluation.module}: Hydra puts a new node there
            raise UserError(
                f"module or datamodule is {dict(part)}, without a class (_target_): where the stage's YAML refers to "
                "another key for it, change that one, for example evaluation.module.seed"
            )
        for argument, key in PLACES.items():
            if isinstance(part.get(argument), Mapping):
                check(key, part[argument])


def check(key: str, config: Mapping[str, Any]) -> None:
    """:func:`check_stage` for one object (or a mapping of them), known to people as ``key``."""
    for place, node in plugins.targets(config, key):
        outermost = place == key or (key == "constraints" and place.count(".") == 1)
        if not outermost and not plugins.is_foreign(node["_target_"]):
            continue
        made = load(place, node["_target_"])
        _check_arguments(place, made, node)
        if outermost and inspect.isclass(made):  # a function's result is known only when it is called
            _check_kind(key, place, made)


def load(key: str, target: str) -> Callable[..., Any]:
    """Imports a class or function by its dotted name.

    Raises:
        UserError: there is none, or its module cannot be imported.
    """
    said = f"{key}._target_={target}"
    words = target.split(".")
    if len(words) < 2 or not all(words):
        raise UserError(f"{said}: write module.Class, for example my_penalty.Mine for the class Mine in my_penalty.py")
    for length in range(len(words) - 1, 0, -1):
        name = ".".join(words[:length])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue  # a class inside of a class, perhaps: the next shorter name
            raise UserError(f"{said}: importing {name} fails: {error}") from error
        except Exception as error:  # somebody else's code: any error is possible
            raise UserError(f"{said}: importing {name} fails with {error!r} (debug=true shows where)") from error
        for word in words[length:]:
            if not hasattr(found, word):
                there = [other for other in vars(found) if inspect.isclass(getattr(found, other))]
                raise UserError(f"{said}: there is no {word} in {name}{_meant(word, there)}")
            found = getattr(found, word)
        if not callable(found):
            raise UserError(f"{said}: is a {type(found).__name__}, not a class")
        return found
    raise UserError(
        f"{said}: there is no module {words[0]}; install its package, or start in the folder of {words[0]}.py"
    )


def _check_arguments(key: str, made: Callable[..., Any], node: Mapping[str, Any]) -> None:
    try:
        parameters = inspect.signature(made).parameters
    except (TypeError, ValueError):  # built in: Python knows no names
        return
    name = node["_target_"].rpartition(".")[2]
    named = {
        item.name: item for item in parameters.values() if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)
    }
    given = [word for word in node if not word.startswith("_")]
    takes_any = any(item.kind is item.VAR_KEYWORD for item in parameters.values())
    for word in given:
        if word not in named and not takes_any:
            takes = f"takes {', '.join(named)}" if named else "takes none"
            raise UserError(f"{key}.{word}={node[word]}: {name} has no such key{_meant(word, [*named])}; it {takes}")
    missing = [item.name for item in named.values() if item.default is item.empty and item.name not in given]
    if missing and "_args_" not in node and not node.get("_partial_"):
        raise UserError(f"{key}: {name} needs a value for {missing[0]}; add +{key}.{missing[0]}=...")


def _check_kind(key: str, place: str, made: type) -> None:
    said = f"{place}._target_={made.__module__}.{made.__qualname__}"
    if key in BASES:
        base_name, methods = BASES[key]
        base: Any = load(key, base_name)
        if not issubclass(made, base):
            raise UserError(f"{said}: must inherit from {base_name} (docs/how-to/extend.md)")
        if methods and all(getattr(made, method) is getattr(base, method) for method in methods):
            raise UserError(
                f"{said}: defines neither {' nor '.join(methods)}; it has to bring one of them (docs/how-to/extend.md)"
            )
        _check_calls(said, made, base, CALLS[key])
    elif key == "advantage" and not any("__call__" in vars(base) for base in made.__mro__):
        raise UserError(f"{said}: defines no __call__, by which advantages are asked for (docs/how-to/extend.md)")
    elif key == "data":
        lacking = [method for method in SOURCE_METHODS if not hasattr(made, method)]
        if lacking:
            raise UserError(
                f"{said}: has no method {lacking[0]}; a data source brings all of {', '.join(SOURCE_METHODS)}"
            )


def _check_calls(said: str, made: type, base: type, calls: Mapping[str, tuple[str, ...]]) -> None:
    """A method that cannot take what it is handed would say so in the first iteration, after all models are loaded."""
    for method, handed in calls.items():
        own = getattr(made, method)
        if own is getattr(base, method) or not inspect.isfunction(inspect.getattr_static(made, method)):
            continue  # the base's own, or something that binds in another way
        signature = inspect.signature(own)
        optional = {"stderr_K"} & set(signature.parameters)  # of weights, handed to those that declare it
        try:
            signature.bind("self", *handed, **dict.fromkeys(optional))
        except TypeError as error:
            raise UserError(
                f"{said}: {method} must accept {method}({', '.join(('self', *handed))}): {error} "
                "(docs/how-to/extend.md)"
            ) from error


def _meant(word: str, there: list[str]) -> str:
    close = difflib.get_close_matches(word, there, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


# Which of Lightning's strategies may train: those under which the tests find what one process finds.
#
# A strategy says how processes share the work, and is no part of the fingerprint. One that splits the weights (FSDP,
# DeepSpeed, tensor parallelism) or averages them now and then would publish one process's share, or weights that are
# not the others', as the result.

DDP = ("lightning.pytorch.strategies.DDPStrategy", "lightning.pytorch.strategies.ddp.DDPStrategy")
"""Every process holds all weights, and gradients are averaged in every step: tests/test_several_processes.py."""

NAMES = {
    "auto": "one process; several without a named strategy are refused when the trainer is built",
    "ddp": "DDPStrategy in processes of their own",
    "ddp_find_unused_parameters_false": "the same, said at length",
    "ddp_find_unused_parameters_true": "the same, as stage=ppo needs it",
}
"""Strategies by name. Those that spawn or fork leave what the module has found in processes that end: not here."""

OPTIONS = {
    "find_unused_parameters": "looks for weights without a gradient, which PPO's two losses leave",
    "broadcast_buffers": "buffers come from averaged numbers, the same everywhere",
    "gradient_as_bucket_view": "where gradients lie in memory",
    "bucket_cap_mb": "how many gradients are sent at once",
    "process_group_backend": "how they are sent",
    "timeout": "how long processes wait for each other",
}
"""Arguments of DDPStrategy that change no result. Hooks that compress gradients, and averaging periods, do."""


def check_strategy(strategy: Any) -> None:
    """Refuses what was never compared with one process.

    Args:
        strategy: ``trainer.strategy``, a name or the config of an object.

    Raises:
        UserError: another strategy, or another option of DDP.
    """
    if not isinstance(strategy, Mapping):
        if strategy not in NAMES:
            raise _refusal(str(strategy))
        return
    if strategy.get("_target_") not in DDP:
        raise _refusal(str(strategy.get("_target_")))
    for option in strategy:
        if option != "_target_" and option not in OPTIONS:
            raise UserError(
                f"trainer.strategy.{option}: nobody has compared its result with that of one process; leave it out "
                f"(DDP's options here are {', '.join(OPTIONS)})"
            )


def _refusal(name: str) -> UserError:
    return UserError(
        f"trainer.strategy={name}: nobody has compared its result with that of one process; take trainer=ddp for "
        f"several processes (or one of {', '.join(NAMES)})"
    )
