"""The toy world's tokenizer: one id per word, whitespace between words, a chat template.

Built from the words of the code, so it needs no file and never changes with a seed.
"""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

from csrlhf.data.toy import prompts as framings
from csrlhf.data.toy import responses
from csrlhf.data.toy.world import NAMES, OBJECTS, VERBS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, UNK, EOS, USER, ASSISTANT = "<pad>", "<unk>", "<eos>", "<user>", "<assistant>"
SPECIAL_TOKENS = (PAD, UNK, EOS, USER, ASSISTANT)

# Removing "<" from what people write keeps "<assistant>" in a prompt from becoming the special token.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '> ' + message['content'] | replace('<', '') + ' ' }}"
    "{% if message['role'] == 'assistant' %}{{ '<eos> ' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def words() -> list[str]:
    """Return every word that prompts and responses can hold, sorted."""
    templates = [
        *framings.QUESTION_FORMS, *framings.HARM_QUESTIONS,
        *framings.TURN_ANSWERS, framings.NAME_PREFIX, framings.NAME_QUESTION,
        *(prefix for prefixes in framings.PREFIXES.values() for prefix in prefixes),
        *responses.COMPLIANCES, *responses.REFUSALS, *responses.REDIRECTS, *responses.OFF_TOPICS,
        *responses.HARM_ANSWERS, responses.NAME_ANSWER, responses.YES, responses.NO,
        *responses.ACT_NAMES.values(), responses.SAFE_ACT_NAME,
    ]  # fmt: skip
    found: set[str] = set(NAMES)
    for template in templates:
        for literal, *_ in Formatter().parse(template):
            found.update(literal.split())
    for verb in VERBS:
        found.update([*verb.phrase.split(), verb.synonym, verb.tool, verb.action])
    for item in OBJECTS:
        found.update([item.word, item.place])
    return sorted(found)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: special tokens first, then the words in sorted order."""
    # Here, not above: the pipeline's waiting parent hashes this world, and importing transformers takes seconds.
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL_TOKENS, *words()])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.pre_tokenizer = WhitespaceSplit()  # type: ignore[assignment]  # a property in Rust
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        eos_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
