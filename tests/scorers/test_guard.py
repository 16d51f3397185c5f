"""Generative guards: the template's own words, the two answers' logits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from csrlhf.errors import InputWarning, UserError
from csrlhf.scorers.build import build
from csrlhf.scorers.guard import GuardScorer
from csrlhf.scorers.guard_styles import STYLES

TURNS = "{% for turn in messages %}{{ turn.role | upper }} {{ turn.content }} end {% endfor %}"
ASKS = TURNS + "{% if add_generation_prompt %}ask{{ '\n\n' }}{% endif %}"
GUIDED = "{{ guideline }} " + TURNS + "ask"
IN_PARTS = "{% for turn in messages %}{{ turn.role | upper }} {{ turn.content[0]['text'] }} end {% endfor %}ask"

WORDS: dict[str, Any] = {"unsafe": "unsafe", "safe": "safe"}


def next_logits(folder: str, text: str) -> tuple[torch.Tensor, Any]:
    """What transformers itself says comes behind a text."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0, -1], tokenizer


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_llama_guard_s_words_in_the_template_of_its_own(guard_folder: Callable[..., str]) -> None:
    """``unsafe`` is two tokens, of which the first tells; the score is the same in a batch and alone."""
    folder = guard_folder(ASKS)
    guard = GuardScorer(folder, style="llama_guard")
    prompts, responses = ["a b", "c", "d"], ["poison", "Paris France Paris France", ""]
    scores = guard.score(prompts, responses, [True, False, True])
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        logits, tokenizer = next_logits(folder, f"USER {prompt} end ASSISTANT {response} end ask")
        unsafe, safe = tokenizer.convert_tokens_to_ids(["uns", "safe"])
        assert float(scores[row]) == pytest.approx(float(logits[unsafe] - logits[safe]), abs=1e-4)
    alone = [guard.score([prompt], [said], [True]) for prompt, said in zip(prompts, responses, strict=True)]
    torch.testing.assert_close(torch.cat(alone), scores)
    assert guard.outputs == ("harm",)


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_the_probability_of_the_unsafe_word_is_over_the_whole_vocabulary(guard_folder: Callable[..., str]) -> None:
    folder = guard_folder(ASKS)
    logits, tokenizer = next_logits(folder, "USER a end ASSISTANT b end ask")
    probability = logits.softmax(-1)[tokenizer.convert_tokens_to_ids("uns")].double()
    score = GuardScorer(folder, style="llama_guard", score="probability").score(["a"], ["b"], [True])
    assert float(score) == pytest.approx(float(probability.logit()), abs=1e-4)


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_shieldgemma_is_asked_with_its_guideline(guard_folder: Callable[..., str]) -> None:
    folder = guard_folder(GUIDED)
    score = GuardScorer(folder, style="shieldgemma", template_args={"guideline": "kill"}).score(["a"], ["b"], [True])
    logits, tokenizer = next_logits(folder, "kill USER a end ASSISTANT b end ask")
    yes, no = tokenizer.convert_tokens_to_ids(["Yes", "No"])
    assert float(score) == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)
    assert "No Dangerous Content" in STYLES["shieldgemma"].template_args["guideline"]


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_wildguard_s_earlier_questions_are_answered_on_the_way(guard_folder: Callable[..., str]) -> None:
    """Each earlier answer is the likelier word, and the last question's logits count."""
    folder = guard_folder()
    questions = ["USER", "ASSISTANT", "ask"]
    guard = GuardScorer(folder, template="a {prompt} b {response} c", unsafe=" yes", safe=" no", questions=questions)
    score, text = guard.score(["d"], ["e {prompt}"], [True]), "a d b e {prompt} c"  # a place inside of a text is text
    for number, question in enumerate(questions):
        logits, tokenizer = next_logits(folder, f"{text} {question}")
        yes, no = tokenizer.convert_tokens_to_ids(["yes", "no"])
        if number < 2:
            text = f"{text} {question} {'yes' if logits[yes] > logits[no] else 'no'}"
    assert float(score) == pytest.approx(float(logits[yes] - logits[no]), abs=1e-4)
    style = STYLES["wildguard"]
    assert style.questions[-1].endswith("Harmful response:")
    assert style.template is not None
    assert style.template.startswith("<|user|>\n[INST] You are a classifier")


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_templates_that_take_parts_are_found_out(guard_folder: Callable[..., str]) -> None:
    plain, parts = guard_folder(ASKS), guard_folder(IN_PARTS, "parts")
    assert not GuardScorer(plain, **WORDS).parts
    guard = GuardScorer(parts, **WORDS)
    assert guard.parts
    assert guard.tokenizer.decode(guard._ids("a", "b")[0]).split() == [
        "USER",
        "a",
        "end",
        "ASSISTANT",
        "b",
        "end",
        "ask",
    ]


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_a_template_may_stand_in_a_file(guard_folder: Callable[..., str], tmp_path: Any) -> None:
    file = tmp_path / "asked.txt"
    file.write_text("ask {prompt} end {response}", encoding="utf-8")
    folder = guard_folder(ASKS)
    guard = GuardScorer(folder, template=str(file), **WORDS)
    written = GuardScorer(folder, template="ask {prompt} end {response}", **WORDS)
    texts: Any = ["a"], ["b c"], [True]
    torch.testing.assert_close(guard.score(*texts), written.score(*texts))


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_a_long_dialogue_keeps_the_template_whole(guard_folder: Callable[..., str]) -> None:
    guard = GuardScorer(guard_folder(ASKS), max_tokens=24, **WORDS)
    ids, cut = guard._ids("a b c d e " * 9, "poison kill")
    words = guard.tokenizer.decode(ids).split()
    assert len(ids) <= 22
    assert words[0] == "USER"
    assert words[-5:] == ["ASSISTANT", "poison", "kill", "end", "ask"]
    assert not cut
    assert guard.cut_short("a", "poison kill " * 20, True)
    assert guard.tokenizer.decode(guard._ids("a", "poison kill " * 20)[0]).split()[-2:] == ["end", "ask"]


def test_a_guard_that_answers_in_other_words_is_told_of_once(guard_folder: Callable[..., str]) -> None:
    folder = guard_folder(ASKS)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():  # whatever it reads, the next word is "a"
        model.model.embed_tokens.weight[:] = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
        model.lm_head.weight.zero_()
        model.lm_head.weight[19] = 9 * model.model.norm(model.model.embed_tokens.weight[:1])[0]
    model.save_pretrained(folder)
    guard = GuardScorer(folder, **WORDS)
    with pytest.warns(InputWarning, match="together a probability of .*was trained on another template") as told:
        torch.cat([guard.score(["a", "b"], ["c", "d"], [True, True]), guard.score(["a"], ["c"], [True])])
    assert len([one for one in told if one.category is InputWarning]) == 1


@pytest.mark.parametrize(
    ("template", "options", "message"),
    [
        (ASKS, {}, "nothing says how the guard answers; set style: to one of llama_guard, shieldgemma, wildguard"),
        (ASKS, {"style": "llamaguard"}, "style=llamaguard: must be one of llama_guard"),
        (None, WORDS, "its tokenizer has no chat template; say how it is asked with style:, or template:"),
        ("ask", WORDS, "its chat template leaves out the prompt or the response"),
        (ASKS, {"style": "llama_guard", "score": "logit"}, "score=logit: must be difference or probability"),
        (ASKS, {"unsafe": "unsafe", "safe": "unsure"}, "begin with the same token"),
        (ASKS, WORDS | {"template": "nowhere.txt"}, "is no file, and has no place for {response}"),
        (ASKS, WORDS | {"questions": "ask"}, "questions='ask': takes a list of texts"),
        (ASKS, WORDS | {"outputs": ["harm", "privacy"]}, "name a scorer for each of them"),
        (ASKS, WORDS | {"max_tokens": 8}, "its template alone has"),
    ],
)
def test_mistakes(guard_folder: Callable[..., str], template: str | None, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GuardScorer(guard_folder(template), **options).score(["a b c d e"], ["b"], [True])


def test_a_guard_named_like_a_classifier_says_what_is_missing(guard_folder: Callable[..., str]) -> None:
    folder = guard_folder(ASKS)
    with pytest.raises(UserError, match=r"is a language model.*scorer: guard, model: .*style: llama_guard"):
        build("inputs.cost", folder, "cost")


@pytest.mark.filterwarnings("ignore::csrlhf.errors.InputWarning")
def test_a_trainer_s_half_precision_does_not_reach_it(guard_folder: Callable[..., str]) -> None:
    guard, texts = GuardScorer(guard_folder(ASKS), **WORDS), (["a b"], ["c"], [True])
    exact = guard.score(*texts)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(guard.score(*texts), exact)
        assert not torch.equal(guard.raw_scores(*texts), exact)


@pytest.mark.parametrize("template", [None, "USER {prompt} ASSISTANT {response} ask </s>"])
def test_control_tokens_that_somebody_wrote_are_text(guard_folder: Callable[..., str], template: str | None) -> None:
    chat = "{% for m in messages %}{{ m['content'] + ' </s> ' }}{% endfor %}{{ 'ask' }}"
    folder = guard_folder(None if template else chat)
    guard = GuardScorer(folder, template=template, **WORDS)
    end = guard.tokenizer.eos_token_id
    plain = guard._ids("a b", "c d")[0]
    mixed = guard._ids("a </s> b", "</s> c d")[0]
    assert mixed.count(end) == plain.count(end) > 0
    assert len(mixed) > len(plain)  # what was written is there, as something else
