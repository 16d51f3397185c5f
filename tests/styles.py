"""Five styles of chat templates, written small, and a tokenizer of single bytes with each one's control tokens.

With one id per byte every text has one encoding, so ids can be worked out by hand and read back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from csrlhf.models.loading import build_policy, seeded

CHATML = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{- bos_token }}"
    "{%- set day = strftime_now('%d %b %Y') %}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system = messages[0]['content'] | trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: ' + day + '\\n\\n' + system + '<|eot_id|>' }}"
    "{%- for m in messages %}"
    "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\\n' + m['content'] | trim }}"
    "{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}"
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
NO_SYSTEM = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<|user|>\\n' + m['content'] + '<|end|>\\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\\n' + m['content'] + '<|end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Style:
    """A template with its control tokens, and what it writes.

    Attributes:
        template: Jinja.
        special: control tokens that the tokenizer declares.
        undeclared: control tokens that it only adds, as Gemma 1 does.
        eos: the tokenizer's end token, which need not be the turn's.
        bos: what texts begin with; None for nothing.
        turn_end: what ends an answer.
        asked: what ``[user "Hi"]`` is rendered to, the cue included.
        told: the same with the system prompt ``Be brief.``
    """

    template: str
    special: tuple[str, ...]
    eos: str
    turn_end: str
    asked: str
    told: str
    bos: str | None = None
    undeclared: tuple[str, ...] = ()

    @property
    def control(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.special, *self.undeclared)


LLAMA3_HEAD = "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n"
LLAMA3_REST = (
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
STYLES = {
    "chatml": Style(
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        eos="<|endoftext|>",
        turn_end="<|im_end|>",
        asked="<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        told="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama3": Style(
        LLAMA3,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        eos="<|end_of_text|>",
        turn_end="<|eot_id|>",
        bos="<|begin_of_text|>",
        asked=LLAMA3_HEAD + LLAMA3_REST,
        told=LLAMA3_HEAD + "Be brief." + LLAMA3_REST,
    ),
    "gemma": Style(
        GEMMA,
        ("<bos>", "<eos>"),
        eos="<eos>",
        turn_end="<end_of_turn>",
        bos="<bos>",
        undeclared=("<start_of_turn>", "<end_of_turn>"),
        asked="<bos><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
        told="<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n",
    ),
    "mistral": Style(
        MISTRAL,
        ("<s>", "</s>", "[INST]", "[/INST]"),
        eos="</s>",
        turn_end="</s>",
        bos="<s>",
        asked="<s>[INST]Hi[/INST]",
        told="<s>[INST]Be brief.\n\nHi[/INST]",
    ),
    "no_system": Style(
        NO_SYSTEM,
        ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>"),
        eos="<|endoftext|>",
        turn_end="<|end|>",
        asked="<|user|>\nHi<|end|>\n<|assistant|>\n",
        told="<|user|>\nBe brief.\n\nHi<|end|>\n<|assistant|>\n",
    ),
}


def byte_tokenizer(
    special: tuple[str, ...], eos: str, template: str | None, bos: str | None = None, undeclared: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """One id per byte, and the control tokens behind them."""
    inner = Tokenizer(BPE({letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}, []))
    inner.pre_tokenizer = ByteLevel(add_prefix_space=False)  # type: ignore[assignment]  # a property in Rust
    inner.decoder = ByteDecoder()  # type: ignore[assignment]
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=eos,
        bos_token=bos,
        additional_special_tokens=[token for token in special if token not in (eos, bos)],
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
    made.add_tokens([AddedToken(token, special=False, normalized=False) for token in undeclared])
    return made


def styled(name: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a style."""
    style = STYLES[name]
    return byte_tokenizer(style.special, style.eos, style.template, style.bos, style.undeclared)


def styled_folder(name: str, folder: Path) -> str:
    """A random policy of one layer with the tokenizer of a style, as somebody publishes an instruct model."""
    tokenizer = styled(name)
    architecture = {
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "initializer_range": 0.3,
    }  # fmt: skip
    with seeded(0):
        build_policy(architecture, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
