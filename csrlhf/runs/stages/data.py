"""``stage=data``: what the other stages would read with this config, before any of them runs. Trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig

from csrlhf.data.encoding import RefusedTurnsError, encode_dialogue, encode_prompt, seen_response
from csrlhf.data.intake import NO_LIMIT
from csrlhf.data.source import DataSource, Kind
from csrlhf.data.summary import Ruler, print_summary, summarise, texts_of
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.inputs import standing_folder
from csrlhf.runs.leak_check import earlier_prompts
from csrlhf.runs.stages.base import Stage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def run(cfg: DictConfig, overrides: Sequence[str], program: Sequence[str]) -> tuple[dict[str, float], None]:
    """Prints the summary and writes its numbers to ``data.json`` in the artifacts folder.

    Args:
        cfg: the composed config.
        overrides: of no use here.
        program: of no use here.

    Returns:
        The numbers, keyed as in docs/reference/metrics.md; no folder.

    Raises:
        UserError: the data cannot be read.
    """
    from csrlhf.tracking.quiet import quiet

    quiet()
    source: DataSource = instantiate(cfg.data)
    folder = Path(cfg.artifacts)
    places = {name: standing_folder(folder, name) for name in cfg.inputs}  # what later stages would build on
    earlier = earlier_prompts({name: str(place) for name, place in places.items() if place.is_dir()})
    summary = summarise(source, _rulers(cfg), cfg.seed, earlier)
    if not summary.parts:
        raise UserError(f"data={source.name} holds no rows that a stage could read")
    print_summary(summary, source.constraints)
    metrics = summary.metrics()
    folder.mkdir(parents=True, exist_ok=True)
    artifacts.write_json(folder / "data.json", metrics)
    print(f"data: {folder / 'data.json'}", flush=True)
    return metrics, None


def _rulers(cfg: DictConfig) -> Callable[[Kind], Ruler]:
    """Lengths in tokens of the model that will read a kind of row; in words where its tokenizer is out of reach."""

    @cache
    def policy() -> PreTrainedTokenizerBase | None:
        return _reachable(lambda: instantiate(cfg.model.policy).tokenizer)

    @cache
    def score() -> PreTrainedTokenizerBase | None:
        backbone = cfg.model.score.backbone  # None: an earlier stage's result, which has the policy's tokenizer
        return policy() if backbone is None else _reachable(lambda: instantiate(cfg.model.score).tokenizer)

    @cache
    def ruler(kind: Kind) -> Ruler:
        tokenizer = policy() if kind in ("prompts", "demonstrations") else score()
        if tokenizer is None:
            return Ruler(_words, "words")
        if kind == "prompts":
            limit, key = cfg.ppo.max_prompt_tokens, "ppo.max_prompt_tokens"
        elif kind == "demonstrations":
            limit, key = cfg.sft.max_tokens, "sft.max_tokens"
        else:
            limit, key = cfg.model.score.max_tokens, "model.score.max_tokens"
        return Ruler(lambda rows: [_num_tokens(tokenizer, row) for row in rows], "tokens", limit, key, tokenizer)

    return ruler


def _reachable(load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (UserError, InstantiationException):  # the stage that needs it will say so; here words do
        return None


def _num_tokens(tokenizer: PreTrainedTokenizerBase, row: Any) -> int:
    """Of the prompt with its response, the longer one of a pair."""
    _, *responses = texts_of(row)
    try:
        if not responses:
            return len(encode_prompt(tokenizer, row.prompt, NO_LIMIT))
        seen = (seen_response(tokenizer, response) for response in responses)
        return max(len(encode_dialogue(tokenizer, row.prompt, response, NO_LIMIT)) for response in seen)
    except RefusedTurnsError as error:
        raise UserError(f"{row.place}: {error}" if row.place else str(error)) from error


def _words(rows: Sequence[Any]) -> list[int]:
    lengths = []
    for row in rows:
        prompt, *responses = (len(text.split()) for text in texts_of(row))
        lengths.append(prompt + max(responses, default=0))
    return lengths


STAGE = Stage(run=run)
