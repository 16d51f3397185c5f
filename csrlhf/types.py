"""The records that flow through the framework. Shapes stand in the docstrings.

Legend of suffixes: B sequences, P prompt tokens, T response tokens, S = P + T, K constraints,
C = 1 + K value channels (reward first, then the costs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the pipeline's waiting parent reads data sources, and importing torch takes seconds
    from torch import Tensor

Messages = tuple[dict[str, str], ...]
"""A conversation: ``({"role": "user", "content": "..."}, ...)``."""

Prompt = str | Messages
"""One user turn as a string, or a conversation whose last turn is the user's."""


@dataclass(frozen=True)
class PromptRow:
    """A prompt to answer. ``meta`` is what an oracle or a report needs (category, framing, ...).

    Rows of all kinds may have a ``place``, such as ``train.jsonl:7``: what messages call them; equal rows may differ in
    it.

    Example: ``PromptRow("how do i clean the clock ?", {"category": "benign", "framing": "plain"})``.
    """

    prompt: Prompt
    meta: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class DemonstrationRow:
    """A prompt with the response to imitate."""

    prompt: Prompt
    response: str
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class PreferenceRow:
    """Two responses to one prompt; ``chosen`` is the better one by the annotator's reward.

    Example: ``PreferenceRow("Which?", chosen="Tea, since ...", rejected="No.", margin=1.0)``: much better.

    Attributes:
        prompt: what both answer.
        chosen: the better response.
        rejected: the other one.
        margin: by how much the reward model is to prefer it beyond ``reward.margin``; 0 or above.
    """

    prompt: Prompt
    chosen: str
    rejected: str
    margin: float = 0.0
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class LabelledRow:
    """A response with its harm labels: ``unsafe[k]`` is 1.0 where constraint ``k`` is violated."""

    prompt: Prompt
    response: str
    unsafe: tuple[float, ...]
    meta: dict[str, Any] = field(default_factory=dict)
    place: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class CostPairRow:
    """Two labelled responses and which of them is the more harmful: what the pairwise cost loss learns from.

    Example: ``CostPairRow(LabelledRow(p, "First, ...", (1.0,)), LabelledRow(p, "No.", (0.0,)), (1.0,))``.

    Attributes:
        first: one response, as a rule to the same prompt as the second.
        second: the other.
        order: for each constraint 1.0 where the first is the more harmful, -1.0 where the second is, 0.0 where nobody
            compared them. Two safe responses can be ordered, too.
    """

    first: LabelledRow
    second: LabelledRow
    order: tuple[float, ...]


class PromptBatch:
    """Prompts ready for generation, left-padded.

    No dataclass: with ``trainer.precision=64-true`` Lightning takes those apart, and cannot put frozen rows together
    again. There is nothing in here to convert.

    Attributes:
        input_ids_BP: token ids, padding on the left.
        prompt_mask_BP: True on real prompt tokens.
        index_B: global sample index of each row in this iteration (int64). Sampling noise is a function
            of it, so splitting a batch over ranks or micro-batches changes nothing.
        rows: the prompts as text, with their meta data.
    """

    def __init__(
        self, input_ids_BP: Tensor, prompt_mask_BP: Tensor, index_B: Tensor, rows: tuple[PromptRow, ...]
    ) -> None:
        self.input_ids_BP = input_ids_BP
        self.prompt_mask_BP = prompt_mask_BP
        self.index_B = index_B
        self.rows = rows

    def to(self, device: Any, **kwargs: Any) -> PromptBatch:
        """The batch with its tensors on ``device`` (Lightning moves what has a ``to``)."""
        tensors = (self.input_ids_BP, self.prompt_mask_BP, self.index_B)
        return PromptBatch(*(tensor.to(device, **kwargs) for tensor in tensors), rows=self.rows)


@dataclass(frozen=True)
class Rollout:
    """Sampled responses. Row ``b`` of ``sequence_ids_BS`` is ``[left pad, prompt, response, right pad]``.

    Attributes:
        sequence_ids_BS: prompt and response ids, S = P + T.
        sequence_mask_BS: True on real tokens (prompt and response).
        response_ids_BT: the last T columns of ``sequence_ids_BS``.
        response_mask_BT: True on generated tokens, the end token included, nothing after it.
        logprobs_BT: log-probability under the distribution that sampled (temperature, top-k, top-p
            applied); 0 where the mask is False.
        ended_B: True where the end token was generated, False where the response was cut off.
        rows: the prompts.
        responses: decoded response texts, special tokens removed, without the thought unless thoughts are scored.
        old_logprobs_BT: the same of the same policy, computed as the update computes them, which the importance ratio
            is taken against (``ppo.old_logprobs``); None: the sampler's are.
        full_logprobs_BT: without top-k and top-p, for the KL; None where nothing is truncated: they are the above.
        thoughts: what was thought before each response; None where ``model.thought`` keeps none beside it.
        states_BSH: what the policy's frozen layers made of all tokens but the last, [B, S - 1, H], as the sampler
            computed it; None where none of them is frozen (``models/frozen_layers.py``).
    """

    sequence_ids_BS: Tensor
    sequence_mask_BS: Tensor
    response_ids_BT: Tensor
    response_mask_BT: Tensor
    logprobs_BT: Tensor
    ended_B: Tensor
    rows: tuple[PromptRow, ...]
    responses: tuple[str, ...]
    old_logprobs_BT: Tensor | None = None
    full_logprobs_BT: Tensor | None = None
    thoughts: tuple[str, ...] | None = None
    states_BSH: Tensor | None = None

    @property
    def ratio_logprobs_BT(self) -> Tensor:
        """What the importance ratio is taken against [B, T]."""
        return self.logprobs_BT if self.old_logprobs_BT is None else self.old_logprobs_BT

    @property
    def kl_logprobs_BT(self) -> Tensor:
        """The policy's side of the KL to the reference [B, T]: never truncated."""
        return self.ratio_logprobs_BT if self.full_logprobs_BT is None else self.full_logprobs_BT


@dataclass(frozen=True)
class Scores:
    """What the frozen models say of a rollout: reward [B]; cost logits [B, K], > 0 means unsafe."""

    reward_B: Tensor
    cost_logits_BK: Tensor


@dataclass(frozen=True)
class Advantages:
    """What the update needs beside the rollout.

    Attributes:
        advantage_BT: the mixed advantage of the one clipped surrogate.
        returns_BTC: value targets per channel; None without a critic.
        values_BTC: the critic's values when the rollout was made; None without a critic.
        reward_advantage_BT: of the reward channel alone, before the mix and any normalisation.
        cost_advantage_BTK: of each cost channel alone, likewise.
    """

    advantage_BT: Tensor
    returns_BTC: Tensor | None = None
    values_BTC: Tensor | None = None
    reward_advantage_BT: Tensor | None = None
    cost_advantage_BTK: Tensor | None = None


@dataclass(frozen=True)
class Layout:
    """How the answers of all processes lie: one process's after the other's, those to a prompt beside each other.

    Example (the second of two processes, 4 answers each, 2 per prompt): ``Layout(per_prompt=2, first=4, size=4)``.

    Attributes:
        per_prompt: answers to each prompt.
        first: place of this process's first answer among those of all.
        size: answers of this process; None where it has all of them.
        part_N: the part that each answer belongs to, numbered from 0, for statistics without each part in turn; None
            where nobody asks for them.
        inside: statistics of each part alone, in place of those without it.
    """

    per_prompt: int = 1
    first: int = 0
    size: int | None = None
    part_N: Tensor | None = None
    inside: bool = False

    @property
    def here(self) -> slice:
        """This process's answers among those of all."""
        return slice(self.first, None if self.size is None else self.first + self.size)


ALONE = Layout()
"""Of one process, and one answer to each prompt."""
