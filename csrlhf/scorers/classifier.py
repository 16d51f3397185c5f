"""Any sequence classifier of transformers as a reward model, a cost model or a judge.

Legend: B dialogues, L labels, K outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from csrlhf.data.encoding import encode_dialogue, is_encoder_tokenizer, pad, pad_id, prompt_text
from csrlhf.errors import UserError
from csrlhf.models.checks import check_vocabulary
from csrlhf.models.loading import as_user_error, load_tokenizer, quiet_loading, resolve_path
from csrlhf.models.score_model import max_positions
from csrlhf.scorers.base import Scorer
from csrlhf.scorers.labels import select
from csrlhf.scorers.rendering import Turns, chat_text, fitting, rendered_ids, turns_of
from csrlhf.types import Prompt

MOST_TOKENS = 4096
"""Of a dialogue, where neither model nor tokenizer knows a limit."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

INPUTS = {
    "chat": "prompt and response as turns in its chat template",
    "pair": "prompt and response as the tokenizer's pair of texts",
    "text": "the prompt, and the response behind it",
    "response": "the response alone",
    "prompt": "the prompt alone",
}


class ClassifierScorer(Scorer):
    """Logits of (prompt, response) texts by a classifier of transformers.

    One label: its logit. Labels that exclude each other: the log-odds of those that count, ``log Σ exp z_in - log Σ exp
    z_out``, of two labels therefore the difference of their logits. Labels that do not
    (``multi_label_classification``): the highest logit of those that count.
    """

    own_dtype = True

    def __init__(
        self,
        model: str | Path,
        outputs: Sequence[str] | None = None,
        label: Any = None,
        labels: Mapping[str, Any] | None = None,
        input: str | None = None,  # the key that people type
        max_tokens: int | None = None,
        dtype: str = "float32",
        batch_size: int = 64,
        *,
        role: str = "cost",
        key: str = "inputs.cost",
    ) -> None:
        """Load it.

        Args:
            model: a folder, or a name on the Hub.
            outputs: the columns that are asked for, see ``labels.select``.
            label: the label, or several, that mean unsafe (better, as a reward); None where their names say it.
            labels: the same by constraint.
            input: one of ``INPUTS``; None for ``chat`` where its tokenizer has a chat template, ``pair`` for encoders.
            max_tokens: longer dialogues are cut; None for what model and tokenizer take.
            dtype: of the weights.
            batch_size: dialogues per forward pass.
            role: ``reward`` or ``cost``.
            key: where it is named, for messages.

        Raises:
            UserError: it has no trained head, or nothing says which label or which input is meant.
        """
        super().__init__()
        self.folder, self.name, self.batch_size = model, str(model), batch_size
        self.model = load_frozen(AutoModelForSequenceClassification, model, dtype, key)
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(model, as_it_is=True)
        check_vocabulary(self.model, self.tokenizer, str(model))
        self.model.config.pad_token_id = pad_id(self.tokenizer)  # causal classifiers look for the last token by it
        self.max_tokens = most_tokens(self.model, self.tokenizer, max_tokens, f"{key}.max_tokens")
        self.input = _input_of(self.tokenizer, input, f"{key}={model}")
        config: Any = self.model.config
        names = [str(config.id2label[number]) for number in range(config.num_labels)]
        self.exclusive = config.problem_type != "multi_label_classification"
        self.has_threshold = config.problem_type != "regression"
        self.selection = select(names, self.exclusive, outputs, role, label, labels, f"{key}={model}")
        self.outputs, self.high = self.selection.outputs, self.selection.high

    def raw_scores(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        """Logits or log-odds [B, K]; arguments as in :meth:`Scorer.raw_scores`."""
        parts = []
        for start in range(0, len(prompts), self.batch_size):
            end = start + self.batch_size
            parts.append(self._logits(prompts[start:end], responses[start:end], ended[start:end]))
        logits_BL = torch.cat(parts)
        logits_BL = logits_BL.to(torch.promote_types(logits_BL.dtype, torch.float32))
        return torch.stack([combined(logits_BL, chosen, self.exclusive) for chosen in self.selection.labels], dim=1)

    def choose(self, outputs: Sequence[str]) -> None:
        """Give these of the outputs from now on."""
        missing = [name for name in outputs if name not in self.outputs]
        if missing:
            raise UserError(f"{self.name} scores {', '.join(self.outputs)} and not {', '.join(missing)}")
        chosen = tuple(self.selection.labels[self.selection.outputs.index(name)] for name in outputs)
        self.selection = type(self.selection)(tuple(outputs), chosen, self.high)
        self.outputs = self.selection.outputs

    def cut_short(self, prompt: Prompt, response: str, ended: bool) -> bool:
        """Whether it reads the response without its end."""
        if self.input == "prompt":
            return False
        room = self.max_tokens - (3 if is_encoder_tokenizer(self.tokenizer) else 1)
        said = len(self.tokenizer.encode(response, add_special_tokens=False))
        if self.input == "response":
            return said > room
        asked = len(self.tokenizer.encode(prompt_text(prompt), add_special_tokens=False))
        return said > room - min(asked, room // 2)

    def _logits(self, prompts: Sequence[Prompt], responses: Sequence[str], ended: Sequence[bool]) -> Tensor:
        device = next(self.model.parameters()).device
        if self.input == "pair":  # its own way of putting two texts together, token types included
            texts = [prompt_text(prompt) for prompt in prompts], list(responses)
            encoded = self.tokenizer(
                *texts,
                truncation="longest_first",
                max_length=self.max_tokens,
                padding=True,
                return_tensors="pt",
                split_special_tokens=True,  # "[SEP]" that somebody wrote is text
            )
            return self.model(**encoded.to(device)).logits
        rows = [self._ids(*one) for one in zip(prompts, responses, ended, strict=True)]
        # One by one where the end token pads as well: a causal classifier takes the last token that is no padding.
        alone = pad_id(self.tokenizer) == self.tokenizer.eos_token_id and not is_encoder_tokenizer(self.tokenizer)
        size = 1 if alone else len(rows)
        parts = []
        for start in range(0, len(rows), size):
            ids_BS, mask_BS = pad(rows[start : start + size], pad_id(self.tokenizer))
            parts.append(self.model(input_ids=ids_BS.to(device), attention_mask=mask_BS.long().to(device)).logits)
        return torch.cat(parts)

    def _ids(self, prompt: Prompt, response: str, ended: bool) -> list[int]:
        if self.input == "text":
            return encode_dialogue(self.tokenizer, prompt, response, self.max_tokens, ended)
        if self.input == "chat":

            def render(turns: Turns, said: str) -> list[int]:
                whole = [*turns, {"role": "assistant", "content": said}]
                # Nothing stands behind an answer that was cut off: the template's end of a turn would be a lie.
                open_end = {} if ended or not said.strip() else {"continue_final_message": True}
                text = chat_text(self.tokenizer, whole, self.name, **open_end)
                return rendered_ids(self.tokenizer, text)

            return fitting(self.tokenizer, render, prompt, response, self.max_tokens, self.name)[0]
        text = prompt_text(tuple(turns_of(prompt))) if self.input == "prompt" else response
        return self.tokenizer.encode(text, truncation=True, max_length=self.max_tokens, split_special_tokens=True)


def _input_of(tokenizer: PreTrainedTokenizerBase, given: str | None, name: str) -> str:
    if given is not None:
        if given not in INPUTS:
            raise UserError(f"{name}: input={given}: must be one of {', '.join(INPUTS)}")
        if given == "chat" and tokenizer.chat_template is None:
            raise UserError(
                f"{name}: input=chat: its tokenizer has no chat template; choose another of {', '.join(INPUTS)}"
            )
        return given
    if tokenizer.chat_template is not None:
        return "chat"
    if is_encoder_tokenizer(tokenizer):
        return "pair"
    raise UserError(
        f"{name}: its tokenizer has no chat template and knows no pairs, so that nothing says how it reads a dialogue; "
        f"say it with input: ({'; '.join(f'{word}: {words}' for word, words in INPUTS.items() if word != 'chat')})"
    )


def combined(logits_BL: Tensor, chosen: Sequence[int], exclusive: bool) -> Tensor:
    """One score [B] of the labels that count for it."""
    inside = torch.zeros(logits_BL.shape[1], dtype=torch.bool, device=logits_BL.device)
    inside[list(chosen)] = True
    if logits_BL.shape[1] == 1 or not exclusive:
        return logits_BL[:, inside].amax(1)
    return logits_BL[:, inside].logsumexp(1) - logits_BL[:, ~inside].logsumexp(1)


def load_frozen(kind: Any, model: str | Path, dtype: str, key: str) -> PreTrainedModel:
    """A model of somebody else's with all of its weights, in eval mode.

    Args:
        kind: a class of transformers with ``from_pretrained``.
        model: a folder, or a name on the Hub.
        dtype: one of ``DTYPES``.
        key: where it is named, for messages.

    Raises:
        UserError: it cannot be loaded, or some weights would be drawn at random.
    """
    if dtype not in DTYPES:
        raise UserError(f"{key}.dtype={dtype}: must be one of {', '.join(DTYPES)}")
    path = resolve_path(model)
    with as_user_error(model), quiet_loading():
        loaded: Any = kind.from_pretrained(path, dtype=DTYPES[dtype], output_loading_info=True)
    found, info = loaded
    if info["missing_keys"]:
        raise UserError(
            f"{key}={model}: holds no trained classifier ({', '.join(sorted(info['missing_keys'])[:2])} would be "
            "drawn at "
            "random); name a reward or cost model"
        )
    return found.requires_grad_(False).eval()


def most_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, given: int | None, key: str) -> int:
    """The length that dialogues are cut to: what is given, as far as model and tokenizer take it."""
    limits = (max_positions(model), tokenizer.model_max_length, None if given else MOST_TOKENS)
    limit = min(int(one) for one in limits if one is not None)
    if given is None:
        return limit
    if not 8 <= given <= limit:
        raise UserError(f"{key}={given}: must be from 8 to {limit}, which is what the model takes")
    return given
