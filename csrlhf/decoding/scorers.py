"""The models that judge candidates: a reward model, and cost models with one output per constraint.

Score models of this project (``stage=reward``, ``stage=cost``), or any sequence classifier of transformers
(``classifier.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from csrlhf.data.encoding import encode_dialogue, encode_response, is_encoder_tokenizer
from csrlhf.decoding.classifier import ClassifierScorer
from csrlhf.errors import UserError
from csrlhf.models.cost_models import CostFolders, CostModels
from csrlhf.models.loading import resolve_path
from csrlhf.models.score_model import HEAD_CONFIG
from csrlhf.models.text_scorer import TextScorer
from csrlhf.types import Prompt

REWARD = "reward"
"""The output's name in a folder of ``stage=reward``."""

NO_LIMIT = 10**9
"""More tokens than any dialogue has."""

Scorer = TextScorer | ClassifierScorer


def model_path(key: str, spec: str | Path) -> str:
    """A model's folder or name.

    Raises:
        UserError: ``artifacts/ppo`` and its like are no names on a hub when there is a folder ``artifacts``.
    """
    path = Path(str(spec)).expanduser()
    if not path.is_dir() and (path.exists() or (path.parent != Path() and path.parent.is_dir())):
        raise UserError(f"{key}={spec}: there is no model folder of this name; make it with its stage, or name another")
    return str(spec)


def load_reward(spec: str | Path) -> Scorer:
    """A model with one output, which is the reward.

    Raises:
        UserError: there is none, or it has other outputs (a cost model would be maximised without any complaint).
    """
    spec = model_path("reward", spec)
    if _is_ours(spec):
        return TextScorer(spec, outputs=(REWARD,))
    return ClassifierScorer(spec, outputs=(REWARD,))


def load_costs(spec: CostFolders) -> Scorer | CostModels:
    """Cost models; all of their outputs are constraints.

    Args:
        spec: a folder or name; several, with different outputs; or a mapping from constraints to where they are scored.

    Raises:
        UserError: one is missing, is a reward model, or two have an output of the same name.
    """
    if isinstance(spec, str | Path):
        return _costs(spec, None)
    scorers: list[Scorer] = []
    if isinstance(spec, Mapping):
        names: dict[str, list[str]] = {}
        for name, folder in spec.items():
            names.setdefault(str(folder), []).append(str(name))
        scorers = [_costs(folder, outputs) for folder, outputs in names.items()]
    else:
        scorers = [_costs(folder, None) for folder in spec]
    if not scorers:
        raise UserError("cost: names no cost model; name one, or give none at all: cost=None")
    outputs = [name for scorer in scorers for name in scorer.outputs]
    twice = sorted({name for name in outputs if outputs.count(name) > 1})
    if twice:
        raise UserError(
            f"cost: several of {', '.join(str(scorer.folder) for scorer in scorers)} score {', '.join(twice)}; say "
            "which is meant, as a mapping from constraints to folders"
        )
    if isinstance(spec, Mapping):
        outputs = [str(name) for name in spec]
    return scorers[0] if len(scorers) == 1 else CostModels(scorers, outputs)  # type: ignore[arg-type]  # they score alike


def cut_short(scorer: Scorer | CostModels, prompt: Prompt, response: str, ended: bool) -> bool:
    """Whether a scorer reads the response without its end, because the dialogue is longer than it takes."""
    if isinstance(scorer, CostModels):
        return any(cut_short(one, prompt, response, ended) for one in scorer.scorers)  # type: ignore[arg-type]
    room = scorer.max_tokens - (3 if is_encoder_tokenizer(scorer.tokenizer) else 0)
    num_response = len(encode_response(scorer.tokenizer, response, ended))
    if num_response <= room // 2:  # the prompt gives way to it
        return False
    whole = encode_dialogue(scorer.tokenizer, prompt, response, NO_LIMIT, ended)
    return len(whole) > scorer.max_tokens and len(whole) - num_response > room - num_response


def _costs(spec: str | Path, outputs: Sequence[str] | None) -> Scorer:
    spec = model_path("cost", spec)
    scorer = TextScorer(spec, outputs=outputs) if _is_ours(spec) else ClassifierScorer(spec, outputs)
    if outputs is None and scorer.outputs == (REWARD,):
        raise UserError(f"cost={spec}: is a reward model: a high score would be taken for harm; name a cost model")
    return scorer


def _is_ours(spec: str) -> bool:
    """Whether a folder holds a score model of ours: with its head in a file of its own."""
    return (Path(resolve_path(spec)) / HEAD_CONFIG).is_file()
