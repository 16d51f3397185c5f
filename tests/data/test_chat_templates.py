"""Settings of conversations written into templates: system prompts, arguments, the day, names and files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from csrlhf.data.chat_templates import DATE, chat_record, clock_date, furnish, kept, literal, template_of, thought_of
from csrlhf.data.encoding import encode_dialogue, encode_prompt
from csrlhf.errors import UserError
from csrlhf.models.loading import load_tokenizer
from csrlhf.models.settings import ChatSettings, Thought
from tests.styles import CHATML, STYLES, byte_tokenizer, styled

ROOM = 10**6
TURNS = (
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Why?"},
)


def asked(tokenizer: Any, prompt: Any = "Hi") -> str:
    return tokenizer.decode(encode_prompt(tokenizer, prompt, ROOM))


def bare(bos: str | None = None) -> Any:
    return byte_tokenizer(("</s>",) if bos is None else ("</s>", bos), "</s>", None, bos)


@pytest.mark.parametrize("name", sorted(STYLES))
def test_a_system_prompt_in_every_style(name: str, tmp_path: Path) -> None:
    """In a turn of its own, or in the first user turn where the template refuses system turns or drops them."""
    style, tokenizer = STYLES[name], styled(name)
    furnish(tokenizer, ChatSettings(system_prompt="Be brief."), name)
    assert asked(tokenizer) == style.told
    tokenizer.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)  # what later stages do
    assert asked(again) == style.told
    # Other programs render the same from the folder alone.
    plain = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": "Hi"}]
    assert plain.apply_chat_template(turns, add_generation_prompt=True, tokenize=False) == style.told


@pytest.mark.parametrize("name", sorted(STYLES))
def test_a_conversations_own_system_turn_is_taken_first(name: str) -> None:
    style, tokenizer = STYLES[name], styled(name)
    furnish(tokenizer, ChatSettings(system_prompt="Be long."), name)
    own = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    assert asked(tokenizer, own) == style.told


def test_a_system_turn_that_a_template_refuses_is_folded_where_nothing_was_set() -> None:
    tokenizer = styled("gemma")
    furnish(tokenizer, None, "gemma")
    assert asked(tokenizer) == STYLES["gemma"].asked
    own = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    assert asked(tokenizer, own) == STYLES["gemma"].told


def test_an_empty_system_prompt_takes_the_templates_own_away() -> None:
    tokenizer = styled("chatml")
    furnish(tokenizer, ChatSettings(system_prompt=""), "chatml")
    assert asked(tokenizer).startswith("<|im_start|>system\n<|im_end|>\n")


def test_settings_can_be_changed_one_at_a_time(tmp_path: Path) -> None:
    tokenizer = styled("llama3")
    original = tokenizer.chat_template
    furnish(tokenizer, ChatSettings(system_prompt="Be brief."), "it")
    furnish(tokenizer, ChatSettings(chat_date="2025-01-02"), "it")
    furnish(tokenizer, None, "it")
    assert asked(tokenizer) == STYLES["llama3"].told.replace("26 Jul 2024", "02 Jan 2025")
    assert kept(tokenizer) == {"system_prompt": "Be brief.", "chat_date": "2025-01-02"}
    furnish(tokenizer, ChatSettings(system_prompt="Now."), "it")
    assert "Be brief." not in tokenizer.chat_template
    assert tokenizer.chat_template.endswith(original)


def test_quotes_and_braces_in_a_system_prompt() -> None:
    text = 'Say "it\'s" {{ x }} {% if %} #} {#- \\n \n é 雪 😀'
    for name in STYLES:
        tokenizer = styled(name)
        furnish(tokenizer, ChatSettings(system_prompt=text), name)
        furnish(tokenizer, ChatSettings(system_prompt=text), name)
        assert asked(tokenizer) == STYLES[name].told.replace("Be brief.", text)


def test_a_control_token_in_a_system_prompt_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.system_prompt: holds '<\|im_end\|>', a control token of chatml"):
        furnish(styled("chatml"), ChatSettings(system_prompt="a<|im_end|>b"), "chatml")


# The clock.


def test_a_template_that_reads_the_clock_is_told_a_fixed_day(tmp_path: Path) -> None:
    tokenizer = styled("llama3")
    tokenizer.save_pretrained(tmp_path)
    assert "26 Jul 2024" not in AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False
    )
    loaded = load_tokenizer(tmp_path)
    assert asked(loaded) == STYLES["llama3"].asked
    assert clock_date(loaded) == DATE == "2024-07-26"
    assert kept(loaded) == {"chat_date": DATE}
    assert clock_date(styled("chatml")) is None


@pytest.mark.parametrize(
    ("form", "said"),
    [("%Y-%m-%d", "2024-03-05"), ("%-d %B %Y", "5 March 2024"), ("%A, %H:%M", "Tuesday, 00:00"), ("%y%j", "24065")],
)
def test_days_as_templates_write_them(form: str, said: str) -> None:
    tokenizer = byte_tokenizer(("</s>",), "</s>", f"{{{{ strftime_now('{form}') }}}}")
    furnish(tokenizer, ChatSettings(chat_date="2024-03-05"), "it")
    assert asked(tokenizer) == said


def test_no_day() -> None:
    with pytest.raises(UserError, match=r"model.chat_date=yesterday: must be a day such as 2024-07-26"):
        furnish(styled("llama3"), ChatSettings(chat_date="yesterday"), "it")


# Arguments.

THINKS = CHATML.replace("assistant\\n' }}", "assistant\\n' + ('' if enable_thinking is not false else 'no ') }}")


def test_arguments_of_a_template() -> None:
    for value, said in ((False, "no "), (True, "")):
        tokenizer = byte_tokenizer(STYLES["chatml"].special, "<|endoftext|>", THINKS)
        furnish(tokenizer, ChatSettings(chat_template_kwargs={"enable_thinking": value}), "it")
        assert asked(tokenizer) == STYLES["chatml"].asked + said


def test_an_argument_that_the_template_does_not_read_is_refused() -> None:
    settings = ChatSettings(chat_template_kwargs={"enable_thinking": False})
    with pytest.raises(UserError, match="enable_thinking: the chat template of chatml reads no such argument"):
        furnish(styled("chatml"), settings, "chatml")
    other = styled("chatml")
    furnish(other, settings, "chatml", own=True)  # a score model of another family
    assert asked(other) == STYLES["chatml"].asked
    with pytest.raises(UserError, match=r"model.chat_template_kwargs.messages: is no name that a template could read"):
        furnish(styled("chatml"), ChatSettings(chat_template_kwargs={"messages": []}), "chatml")


def test_literals() -> None:
    values = {"a": None, "b": [True, 1.5, "x\n\"#'"], "c": {}}
    assert literal(values) == '{"a": none, "b": [true, 1.5, "x\\n\\"\\u0023\'"], "c": {}}'


# Which template.


def test_without_a_template_roles_and_a_cue(tmp_path: Path) -> None:
    tokenizer = bare()
    tokenizer.save_pretrained(tmp_path)
    expected = "User:\nHi\n\nAssistant:\nYes.</s>\n\nUser:\nWhy?\n\nAssistant:\n"
    for one in (tokenizer, load_tokenizer(tmp_path)):
        assert asked(one, TURNS) == expected
        assert asked(one) == "User:\nHi\n\nAssistant:\n"
        # Nothing runs together in what a scorer reads.
        assert one.decode(encode_dialogue(one, "Tell me a joke.", "No.", ROOM)) == (
            "User:\nTell me a joke.\n\nAssistant:\nNo.</s>"
        )
    assert load_tokenizer(tmp_path).chat_template is not None  # so the folder that a stage writes says it


def test_a_default_template_begins_as_the_tokenizer_does() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = bare("<s>")
    assert asked(tokenizer) == "User:\nHi\n\nAssistant:\n"  # it has such a token, and does not begin texts with it
    start = tokenizer.convert_tokens_to_ids("<s>")
    tokenizer = bare("<s>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", start)])
    assert asked(tokenizer) == "<s>User:\nHi\n\nAssistant:\n"


def test_named_templates() -> None:
    for name, expected in (
        ("roles", "User:\nHi\n\nAssistant:\nYes.</s>\n\nUser:\nWhy?\n\nAssistant:\n"),
        ("plain", "Hi\nYes.\nWhy?"),
        ("safe_rlhf", "BEGINNING OF CONVERSATION: USER: Hi ASSISTANT:Yes.</s>USER: Why? ASSISTANT:"),
    ):
        tokenizer = styled("mistral")  # its own gives way
        furnish(tokenizer, ChatSettings(chat_template=name), "it")
        assert asked(tokenizer, TURNS) == expected


def test_a_template_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}[{{ m['content'] }}]{% endfor %}>", encoding="utf-8")
    tokenizer = styled("chatml")
    furnish(tokenizer, ChatSettings(chat_template=str(file), system_prompt="S"), "it")
    assert asked(tokenizer) == "[S][Hi]>"
    without = bare()
    furnish(without, ChatSettings(chat_template=str(file)), "scorer", own=True)
    assert asked(without) == "[Hi]>"


def test_one_of_several_templates() -> None:
    tokenizer = bare()
    tokenizer.chat_template = {"default": "d{{ messages[0]['content'] }}", "tools": "t{{ messages[0]['content'] }}"}
    assert template_of(tokenizer) == "d{{ messages[0]['content'] }}"
    assert asked(tokenizer) == "dHi"
    furnish(tokenizer, ChatSettings(chat_template="tools"), "it")
    assert asked(tokenizer) == "tHi"


def test_broken_templates_name_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ strftime_now('%Y') }}\n{% for m in messages %}\n{% endif %}", encoding="utf-8")
    with pytest.raises(UserError, match=rf"model.chat_template={re.escape(str(file))}:3: .*endif.*; mend the template"):
        furnish(styled("chatml"), ChatSettings(chat_template=str(file)), "it")
    file.write_text("{{ raise_exception('no') }}", encoding="utf-8")
    with pytest.raises(UserError, match=r"refuses a conversation of one user turn \(no\)"):
        furnish(styled("chatml"), ChatSettings(chat_template=str(file)), "it")
    missing = r"model.chat_template=nosuch: is neither one of roles, plain, safe_rlhf nor a readable file"
    with pytest.raises(UserError, match=missing):
        furnish(styled("chatml"), ChatSettings(chat_template="nosuch"), "it")


def test_what_nobody_sets_changes_nothing() -> None:
    for name in ("chatml", "no_system"):
        tokenizer = styled(name)
        before = tokenizer.chat_template
        furnish(tokenizer, ChatSettings(), name)
        assert tokenizer.chat_template == before
        assert kept(tokenizer) == {}


# Thoughts, and records.


def test_what_becomes_of_thoughts_is_kept_with_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = styled("chatml")
    assert thought_of(tokenizer) == Thought.keep
    furnish(tokenizer, ChatSettings(thought=Thought.score), "it")
    tokenizer.save_pretrained(tmp_path)
    assert thought_of(load_tokenizer(tmp_path)) == Thought.score
    assert thought_of(load_tokenizer(tmp_path, ChatSettings(thought=Thought.drop))) == Thought.drop


def test_records(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("x", encoding="utf-8")
    assert chat_record(None) == chat_record(ChatSettings()) == {}
    settings = ChatSettings(chat_template=str(file), system_prompt="S", chat_template_kwargs={"a": (1,)})
    assert chat_record(settings) == {
        "chat": {"system_prompt": "S", "chat_template_kwargs": {"a": [1]}, "chat_template": "x"}
    }
    assert chat_record(ChatSettings(chat_template="roles")) == {"chat": {"chat_template": "roles"}}
