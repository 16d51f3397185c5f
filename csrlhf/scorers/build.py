"""From what a config says of a scorer to the scorer, loaded, on the scale of its role.

Nothing is guessed in silence: where neither the scorer nor its description says what a high score means, or which score
counts as unsafe, the description is refused with the key that says it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PretrainedConfig

from csrlhf.errors import UserError
from csrlhf.models.loading import load_config, resolve_path
from csrlhf.models.score_model import HEAD_CONFIG
from csrlhf.models.text_scorer import TextScorer
from csrlhf.scorers.base import COST, REWARD, Scale, Scorer
from csrlhf.scorers.specs import PARTS, SCORER, as_spec, check_source, is_description, is_single, sources

ROOM = "csrlhf.scorers"
KINDS = {
    "folder": "csrlhf.models.text_scorer.TextScorer",
    "classifier": f"{ROOM}.classifier.ClassifierScorer",
    "score_head": f"{ROOM}.score_head.ScoreHeadScorer",
    "guard": f"{ROOM}.guard.GuardScorer",
    "function": f"{ROOM}.function.FunctionScorer",
    "endpoint": f"{ROOM}.endpoint.EndpointScorer",
    "mix": f"{ROOM}.mix.MixScorer",
}
"""What the key ``scorer`` may be, beside the dotted name of a class of somebody else's."""

OURS = ("outputs", "role", "key")
"""Arguments that the builder hands over; ``outputs`` may also be named in a description."""

SCALE = ("scale", "threshold", "unit", "higher", "probe")
"""Keys of every description."""

HIGH = {COST: ("unsafe", "safe"), REWARD: ("better", "worse")}
"""What ``higher`` may be in a role; the first is what the role wants."""


def is_ours(spec: Any) -> bool:
    """Whether a text names a folder of ``stage=reward`` or ``stage=cost``: with its head in a file of its own."""
    return isinstance(spec, str | Path) and (Path(resolve_path(spec)) / HEAD_CONFIG).is_file()


def check(key: str, given: Any, role: str) -> None:
    """Looks at descriptions before anything is loaded: kinds, keys, values that stand for themselves.

    Args:
        key: where the scorer is named: ``inputs.cost``.
        given: one scorer, or several.
        role: ``reward`` or ``cost``.

    Raises:
        UserError: names the key, and what it takes.
    """
    spec = as_spec(given)
    if is_description(spec):
        made = _class_of(key, spec)
        _check_keys(key, spec, made)
        _scale_of(key, spec, role, None)
        for place, source in sources(spec, key):
            check_source(place, source)
        check(f"{key}.{PARTS}", spec.get(PARTS) or [], role)
    elif isinstance(spec, Mapping | list):
        for name, one in spec.items() if isinstance(spec, Mapping) else enumerate(spec):
            check(f"{key}.{name}", one, role)


def check_roles(inputs: Mapping[str, Any]) -> None:
    """:func:`check` of ``inputs.reward`` and ``inputs.cost``, where they are given."""
    for role in (REWARD, COST):
        check(f"inputs.{role}", inputs.get(role), role)


def build(key: str, given: Any, role: str, outputs: Sequence[str] | None = None) -> Scorer:
    """One scorer, loaded.

    Args:
        key: where it is named, for messages.
        given: a text, or a description.
        role: ``reward`` or ``cost``.
        outputs: names of the columns that are wanted, in this order; None for all that it has.

    Raises:
        UserError: it cannot be loaded, does not score what is asked for, or does not say what its scores mean.
    """
    spec = as_spec(given)
    if not is_single(spec):
        raise UserError(f"{key}={spec}: takes one scorer; several are a mix, {{scorer: mix, scorers: [...]}}")
    if not is_description(spec):
        spec = _described(key, str(spec))
    made = _class_of(key, spec)
    _check_keys(key, spec, made)
    options = {name: value for name, value in spec.items() if name not in (SCORER, *SCALE)}
    if made is TextScorer:
        scorer: Scorer = TextScorer(options.pop("model"), **options, outputs=outputs)
        _refuse_reward_model(key, scorer, role)
    else:
        handed = {"outputs": outputs, "role": role, "key": key}
        taken = inspect.signature(made).parameters
        options = {name: value for name, value in handed.items() if name in taken} | options
        scorer = made(**options)
        if outputs is not None:
            scorer.choose(outputs)
    scorer.scale = _scale_of(key, spec, role, scorer)
    scorer.probed = made is not TextScorer and bool(spec.get("probe", True))
    return scorer


def _described(key: str, path: str) -> dict[str, Any]:
    """The description that a folder or a name on the Hub stands for, from its configuration."""
    if is_ours(path):
        return {SCORER: "folder", "model": path}
    config = load_config(path)
    names = tuple(config.architectures or ())
    if has_score_head(config):
        return {SCORER: "score_head", "model": path}
    if names and all(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names):
        asked = f"{{scorer: guard, model: {path}, style: llama_guard}}"
        raise UserError(
            f"{key}={path}: is a language model ({names[0]}) without its score head; name a folder of stage=reward or "
            f"stage=cost, or say how it is asked as a guard: {asked} (or shieldgemma, wildguard, or words of your own)"
        )
    return {SCORER: "classifier", "model": path}


def has_score_head(config: PretrainedConfig) -> bool:
    """Whether a configuration is that of a score model of PKU's: ``LlamaForScore`` and its like."""
    return any(str(name).endswith("ForScore") for name in config.architectures or ())


def _class_of(key: str, spec: Mapping[str, Any]) -> Any:
    kind = str(spec[SCORER])
    place = KINDS.get(kind, kind)
    module, _, word = place.rpartition(".")
    if not module:
        close = difflib.get_close_matches(kind, KINDS, n=1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        raise UserError(
            f"{key}.scorer={kind}: must be one of {', '.join(KINDS)}, or a class of your own, "
            f"package.module.Class{meant}"
        )
    try:
        made = getattr(importlib.import_module(module), word)
    except Exception as error:  # somebody else's code: any error is possible
        raise UserError(f"{key}.scorer={kind}: cannot be imported: {error!r}") from error
    if not (inspect.isclass(made) and issubclass(made, Scorer)):
        raise UserError(f"{key}.scorer={kind}: must be a class that inherits from {Scorer.__module__}.Scorer")
    return made


def _check_keys(key: str, spec: Mapping[str, Any], made: Any) -> None:
    parameters = dict(inspect.signature(made).parameters)
    if made is TextScorer:  # its first argument is called model here, as in all other kinds
        parameters = {"model": parameters["folder"], **parameters}
        del parameters["folder"]
    takes = [name for name in parameters if name not in OURS or name == "outputs"] + list(SCALE)
    for word in spec:
        if word != SCORER and word not in takes:
            close = difflib.get_close_matches(str(word), takes, n=1)
            meant = f" (did you mean {close[0]}?)" if close else ""
            raise UserError(
                f"{key}.{word}={spec[word]}: the scorer {spec[SCORER]} has no such key{meant}; it takes "
                f"{', '.join(takes)}"
            )
    for name, item in parameters.items():
        if item.default is item.empty and name not in OURS and name not in spec:
            raise UserError(f"{key}: the scorer {spec[SCORER]} needs a value for {name}")


def _scale_of(key: str, spec: Mapping[str, Any], role: str, scorer: Scorer | None) -> Scale:
    """The scale of a description; what only the loaded scorer can tell is looked at once there is one."""
    higher, (wanted, contrary) = spec.get("higher"), HIGH[role]
    if higher is not None and higher not in HIGH[role]:
        raise UserError(f"{key}.higher={higher}: must be {wanted} or {contrary}, what a high score means")
    if not isinstance(spec.get("probe", True), bool):
        raise UserError(f"{key}.probe={spec['probe']}: must be true or false")
    means = scorer.high if scorer is not None and higher is None else higher
    if scorer is not None and means not in (wanted, contrary, "as asked"):
        said = (
            "nothing says whether a high score means" if means is None else f"by its own account high is {means}, not"
        )
        raise UserError(
            f"{key}={scorer.name}: {said} {wanted}{f' or {contrary}' if means is None else ''}; say it with "
            f"higher: {wanted} or higher: {contrary}, in {{scorer: {spec[SCORER]}, model: ..., higher: ...}}"
        )
    scale = Scale(
        str(spec.get("scale", "logit")), spec.get("threshold"), spec.get("unit", 1.0), -1 if means == contrary else 1
    )
    scale.check(key)
    stated = spec.get("threshold") is not None or scale.kind == "probability"
    if role == COST and scorer is not None and not (stated or scorer.has_threshold):
        raise UserError(
            f"{key}={scorer.name}: nothing says which of its scores count as unsafe; say it with threshold: (the score "
            "at which a response is as likely unsafe as not), or scale: probability"
        )
    return scale


def _refuse_reward_model(key: str, scorer: Scorer, role: str) -> None:
    if role == COST and scorer.outputs == (REWARD,):
        raise UserError(
            f"{key}={scorer.name}: is a reward model: a high score would be taken for harm; name a cost model"
        )
