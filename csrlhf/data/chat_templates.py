"""Chat templates: the named ones, and a model's settings written into its own.

Settings (a system prompt, template arguments, the date) become a few lines of Jinja at the head of the template. So
every stage renders alike, a saved folder says what it was trained with, and other programs that open it (transformers,
vLLM) render the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError

from csrlhf.errors import UserError
from csrlhf.models.settings import ChatSettings, Thought

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLES = (
    "{% for message in messages %}"
    "{{ message['role'] | capitalize + ':\\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{{ '\\n\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)
"""The role on a line of its own above each turn. Its cue ends with a line break, so an answer's first word is whole."""

PLAIN = "{% for message in messages %}{% if not loop.first %}{{ '\\n' }}{% endif %}{{ message['content'] }}{% endfor %}"
"""The texts alone: for prompts that are to be continued, not answered."""

SAFE_RLHF = (
    "{{ 'BEGINNING OF CONVERSATION: ' }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ASSISTANT:' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('no such role: ' + message['role']) }}{% endif %}"
    "{% endfor %}"
)
"""That of Safe-RLHF's models (PKU-Alignment/safe-rlhf, safe_rlhf/configs/constants.py)."""

NAMED = {"roles": ROLES, "plain": PLAIN, "safe_rlhf": SAFE_RLHF}
DEFAULT = "roles"

HEAD, TAIL = "{#- settings of csrlhf -#}", "{#- the template itself #}\n"
"""Around the lines at the head of a template; the last line break goes with its block, as transformers renders."""

KEY = "csrlhf_chat"
"""Under which a tokenizer's configuration keeps the settings, to change one of them later."""

DATE = "2024-07-26"
"""What a template that reads the clock is told, where ``model.chat_date`` names no other day: Llama 3.1's own."""

CLOCK = "strftime_now"
RESERVED = ("messages", "tools", "documents", "add_generation_prompt")
DIRECTIVES = "aAbBcdHIjmMpSUwWxXyY"
"""Of strftime, that mean a day or midnight."""


def template_of(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A tokenizer's template; of several, the default one. None where it has none."""
    found: Any = tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get("default")
    return found or None


def begins(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer puts a token of its own before texts."""
    start = tokenizer.bos_token_id
    return start is not None and start in tokenizer.encode("a")[:1]


def default_template(tokenizer: PreTrainedTokenizerBase, name: str = DEFAULT) -> str:
    """A named template for a tokenizer, with the token at its head that the tokenizer begins texts with."""
    return "{{ bos_token }}" * begins(tokenizer) + NAMED[name]


def given(settings: ChatSettings | None) -> dict[str, Any]:
    """The settings that were named, as JSON-ready values, without the template."""
    found: dict[str, Any] = {}
    if settings is None:
        return found
    if settings.system_prompt is not None:
        found["system_prompt"] = settings.system_prompt
    if settings.chat_template_kwargs:
        found["chat_template_kwargs"] = _plain(settings.chat_template_kwargs)
    if settings.chat_date is not None:
        found["chat_date"] = settings.chat_date
    if settings.thought is not None:
        found["thought"] = str(settings.thought)
    return found


def _plain(value: Any) -> Any:
    """Mappings and lists of a configuration as JSON writes them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def chat_record(settings: ChatSettings | None) -> dict[str, Any]:
    """What settings change of a model's own, for identities and fingerprints: nothing where nothing was named."""
    found = given(settings)
    if settings is not None and settings.chat_template is not None:
        path = Path(settings.chat_template).expanduser()
        found["chat_template"] = path.read_text(encoding="utf-8") if path.is_file() else settings.chat_template
    return {"chat": found} if found else {}


def kept(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The settings that a tokenizer was saved with; what ``csrlhf.json`` records as ``chat``."""
    return dict(tokenizer.init_kwargs.get(KEY) or {})


def thought_of(tokenizer: PreTrainedTokenizerBase) -> Thought:
    """What becomes of thoughts in a tokenizer's responses."""
    return Thought(kept(tokenizer).get("thought", Thought.keep))


def clock_date(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The day that the template is told; None where it does not ask."""
    return kept(tokenizer).get("chat_date") if CLOCK in (template_of(tokenizer) or "") else None


def furnish(tokenizer: PreTrainedTokenizerBase, settings: ChatSettings | None, name: str, own: bool = False) -> None:
    """Put the settings into a tokenizer's template, in place. Settings that are not named stay as the folder has them.

    Args:
        tokenizer: of a causal model. An encoder's has no template: it keeps what is said of thoughts alone.
        settings: None changes nothing but what nobody may leave open: a missing template, and the clock.
        name: of the model, for messages.
        own: it is another model than the policy (a score model's backbone): arguments that its template does not read
            are meant for the policy's.

    Raises:
        UserError: the template is neither a file nor a name, or is broken, or does not read an argument; the system
            prompt holds a control token.
    """
    chosen = kept(tokenizer) | given(settings)
    if tokenizer.cls_token_id is not None and tokenizer.sep_token_id is not None:
        if "thought" in chosen:
            tokenizer.init_kwargs[KEY] = {"thought": chosen["thought"]}
        return
    before = template_of(tokenizer)
    template = None if before is None else _without_head(before)
    wanted = None if settings is None else settings.chat_template
    if wanted is not None:
        template = _named(tokenizer, wanted)
    if template is None:
        template = default_template(tokenizer)
    arguments = chosen.get("chat_template_kwargs", {})
    if own:
        arguments = {key: value for key, value in arguments.items() if _reads(template, key)}
    _check_arguments(template, arguments, name)
    if CLOCK in template:
        chosen.setdefault("chat_date", DATE)
    elif settings is None or settings.chat_date is None:
        chosen.pop("chat_date", None)
    lines = [*_arguments(arguments), *_clock(template, chosen.get("chat_date"))]
    lines += _system(tokenizer, "".join([*lines, template]), template, chosen.get("system_prompt"), name)
    whole = HEAD + "".join(lines) + TAIL + template if lines else template
    if wanted is not None or lines:
        _check_syntax(tokenizer, whole, wanted or name)
    if whole != before:
        tokenizer.chat_template = whole
    if chosen:
        tokenizer.init_kwargs[KEY] = chosen


def _without_head(template: str) -> str:
    return template.partition(TAIL)[2] if template.startswith(HEAD) else template


def _named(tokenizer: PreTrainedTokenizerBase, wanted: str) -> str:
    """The template that ``model.chat_template`` names: one of ours, one of several of the tokenizer's, or a file."""
    several: Any = tokenizer.chat_template
    if isinstance(several, dict) and wanted in several:
        return several[wanted]
    if wanted in NAMED:
        return default_template(tokenizer, wanted)
    path = Path(wanted).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = [*NAMED, *(several if isinstance(several, dict) else ())]
        raise UserError(
            f"model.chat_template={wanted}: is neither one of {', '.join(names)} nor a readable file of Jinja"
        ) from error


def _reads(template: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", template) is not None


def _check_arguments(template: str, arguments: dict[str, Any], name: str) -> None:
    for key in arguments:
        if not key.isidentifier() or key in RESERVED:
            raise UserError(f"model.chat_template_kwargs.{key}: is no name that a template could read; leave it out")
        if not _reads(template, key):
            raise UserError(
                f"model.chat_template_kwargs.{key}: the chat template of {name} reads no such argument; leave it out, "
                "or name the template that does (model.chat_template)"
            )


def _check_syntax(tokenizer: PreTrainedTokenizerBase, template: str, name: str) -> None:
    """A template that cannot be read, or that refuses a question, is an error before anything is trained."""
    try:
        _rendered(tokenizer, template, [{"role": "user", "content": "a"}])
    except TemplateSyntaxError as error:
        line = max(1, error.lineno - template.count("\n", 0, len(template) - len(_without_head(template))))
        raise UserError(f"model.chat_template={name}:{line}: {error.message}; mend the template") from error
    except (TemplateError, TypeError) as error:
        raise UserError(
            f"model.chat_template={name}: refuses a conversation of one user turn ({error}); mend the template"
        ) from error


def _rendered(tokenizer: PreTrainedTokenizerBase, template: str, turns: list[dict[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(turns, chat_template=template, add_generation_prompt=True, tokenize=False))


# Lines of Jinja at the head of a template.


def literal(value: Any) -> str:
    """A value of JSON as Jinja writes it."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(literal, value)) + "]"
    # '#', so that no text can end the comment by which the head is found again
    return json.dumps(value, ensure_ascii=False).replace("#", "\\u0023")


def _arguments(arguments: dict[str, Any]) -> list[str]:
    return [f"{{%- set {key} = {literal(value)} -%}}" for key, value in arguments.items()]


def _clock(template: str, day: str | None) -> list[str]:
    """``strftime_now`` of a fixed day, so that ids do not change from one day to the next."""
    if CLOCK not in template or day is None:
        return []
    try:
        fixed = date.fromisoformat(day)
    except ValueError as error:
        raise UserError(f"model.chat_date={day}: must be a day such as {DATE}") from error
    used = [f"%{dash}{letter}" for dash in ("-", "") for letter in DIRECTIVES if f"%{dash}{letter}" in template]
    words = "".join(f" | replace({literal(one)}, {literal(_said(fixed, one))})" for one in used)
    return [f"{{%- macro {CLOCK}(format) -%}}{{{{ format{words} }}}}{{%- endmacro -%}}"]


def _said(day: date, directive: str) -> str:
    if directive[1] == "-":  # without leading zeros, which not every platform knows
        return day.strftime(directive.replace("-", "")).lstrip("0") or "0"
    return day.strftime(directive)


def _system(
    tokenizer: PreTrainedTokenizerBase, so_far: str, template: str, system_prompt: str | None, name: str
) -> list[str]:
    """The system prompt where a conversation brings none; in the first user turn where the template has no such role.

    A template that drops system turns in silence is left alone where nobody asks for a system prompt.
    """
    from csrlhf.data.chat_format import control_tokens  # which reads templates

    if system_prompt is not None:
        control = next((one for one in control_tokens(tokenizer, template) if one in system_prompt), None)
        if control is not None:
            raise UserError(
                f"model.system_prompt: holds {control!r}, a control token of {name}; write it without, the chat "
                "template puts them in"
            )
    takes = _takes_system(tokenizer, so_far)
    if takes or (takes is None and system_prompt is None):
        if system_prompt is None:
            return []
        turn = f"{{'role': 'system', 'content': {literal(system_prompt)}}}"
        return [
            "{%- if messages[0]['role'] != 'system' -%}",
            f"{{%- set messages = [{turn}] + messages -%}}",
            "{%- endif -%}",
        ]
    first = "{'role': 'user', 'content': csrlhf_system + '\\n\\n' + messages[0]['content']}"
    return [
        f"{{%- set csrlhf_system = {literal(system_prompt or '')} -%}}",
        "{%- if messages[0]['role'] == 'system' -%}",
        "{%- set csrlhf_system = messages[0]['content'] -%}{%- set messages = messages[1:] -%}",
        "{%- endif -%}",
        "{%- if csrlhf_system and messages and messages[0]['role'] == 'user' -%}",
        f"{{%- set messages = [{first}] + messages[1:] -%}}",
        "{%- endif -%}",
    ]


def _takes_system(tokenizer: PreTrainedTokenizerBase, template: str) -> bool | None:
    """Whether a system turn appears in what the template renders; None where it is dropped, False where refused."""
    user = [{"role": "user", "content": "a"}]
    try:
        _rendered(tokenizer, template, user)
    except (TemplateError, TypeError):  # a template that refuses anything says so where it is used
        return None
    mark = "\ue003"
    try:
        return mark in _rendered(tokenizer, template, [{"role": "system", "content": mark}, *user]) or None
    except TemplateError:
        return False
