"""Several policies, samples, prompt files, judges, labels and kept answers, end to end on the small world."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from csrlhf.constraints import Chance
from csrlhf.data.prompt_sets import EvaluationData
from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.answers.records import about_path, read_about, read_answers
from csrlhf.evaluation.policies.module import EvaluationModule
from csrlhf.evaluation.settings import EvaluateSettings
from csrlhf.generation.sampler import Sampler
from csrlhf.types import PromptRow


@pytest.fixture
def evaluate(tiny: ModuleType, folders: Any, tmp_path: Path) -> Callable[..., EvaluationModule]:
    """``evaluate(policies=..., prompts=..., ...)``: a finished test, its result in ``tmp_path / name``."""

    def run(name: str = "out", source: Any = None, prompts: Any = None, **options: Any) -> EvaluationModule:
        work, refusals = options.pop("work", None), options.pop("refusals", "words")
        settings = EvaluateSettings(prompts=prompts, batch_size=7, **options)
        module = EvaluationModule(
            folders.inputs(), Sampler(5), {"harm": Chance(0.3)}, settings, work=work, refusals=refusals
        )
        data = EvaluationData(source or tiny.Source(), tiny.tokenizer(), settings, max_prompt_tokens=16)
        tiny.trainer(tmp_path).test(module, data, verbose=False)
        (tmp_path / name).mkdir()
        module.export(tmp_path / name)
        return module

    return run


def numbers(module: EvaluationModule) -> dict[str, float]:
    """The metrics that are numbers: NaN is not even itself."""
    return {key: value for key, value in module.final_metrics.items() if not math.isnan(value)}


def test_kept_answers_give_the_same_digits_in_any_order(evaluate: Callable, tmp_path: Path) -> None:
    first = evaluate(samples_per_prompt=2)
    path = tmp_path / "out" / "answers.jsonl"
    again = evaluate("again", outputs=str(path))
    assert numbers(again) == numbers(first)
    assert (tmp_path / "again" / "answers.jsonl").read_bytes() == path.read_bytes()
    lines = path.read_text(encoding="utf-8").splitlines()
    Random(0).shuffle(lines)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.warns(InputWarning, match="was changed after it was written"):
        shuffled = evaluate("shuffled", outputs=str(path))
    assert numbers(shuffled) == numbers(first)
    about_path(path).unlink()
    assert numbers(evaluate("bare", outputs=str(path))) == numbers(first)


def test_policies_by_name_have_keys_of_their_own(evaluate: Callable, folders: Any, tmp_path: Path) -> None:
    found = evaluate(policies={"mine": folders.ppo, "other": folders.sft}).final_metrics
    default = evaluate("default").final_metrics
    assert found["eval/mine/reward"] == pytest.approx(default["eval/reward"])
    assert found["eval/mine/harm/upper_bound"] == default["eval/harm/upper_bound"]
    assert "eval/other/harm/feasible" in found
    assert "eval/reward" not in found
    assert found["arena/other_vs_mine/win_rate"] == pytest.approx(1 - default["arena/ppo_vs_sft/win_rate"])
    assert found["paired/other_vs_mine/category/harmful/p"] == default["paired/ppo_vs_sft/category/harmful/p"]
    about = read_about(tmp_path / "out" / "answers.jsonl")
    assert list(about["policies"]) == ["mine", "other"]
    assert about["policies"]["mine"] != about["policies"]["other"]
    assert not about["edited"]


def test_samples_differ_and_the_first_is_that_of_one_alone(evaluate: Callable, tmp_path: Path) -> None:
    found = evaluate(samples_per_prompt=3, attempts=2).final_metrics
    answers = read_answers(tmp_path / "out" / "answers.jsonl")
    assert len(answers) == 2 * 12 * 3
    assert len({(a.policy, a.prompt_id) for a in answers}) == 24
    by_prompt = [answers[i : i + 3] for i in range(0, len(answers), 3)]
    assert all([a.sample for a in group] == [0, 1, 2] and len({a.text for a in group}) == 1 for group in by_prompt)
    assert any(len({a.response for a in group}) > 1 for group in by_prompt)
    assert found["eval/attack/all/success_at_k"] >= found["eval/attack/all/success_at_1"]


def test_prompt_files_bring_categories_and_attacks(evaluate: Callable, tmp_path: Path) -> None:
    lines = [{"prompt": f"a {word}", "category": "weapons", "attack": "role_play", "id": word} for word in "bcd"]
    (tmp_path / "bad.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "alike.csv").write_text("prompt\ne f\ng h\n", encoding="utf-8")
    files = {"jail": str(tmp_path / "bad.jsonl"), "keyword_alike": str(tmp_path / "alike.csv")}
    with pytest.raises(
        UserError, match=r"nobody says whether prompts of the category weapons are harmless: .* set evalu"
    ):
        evaluate("refused", prompts=files)
    found = evaluate(prompts=files, harmful=["harmful", "weapons"]).final_metrics
    assert {"eval/category/weapons/unsafe_rate", "eval/attack/role_play/success_at_1"} <= found.keys()
    assert "eval/category/keyword_alike/over_refusal" in found
    assert "eval/oracle/unsafe" not in found  # the world's judge knows nothing of these prompts
    answers = read_answers(tmp_path / "out" / "answers.jsonl")
    assert [a.prompt_id for a in answers[:5]] == ["jail-b", "jail-c", "jail-d", "keyword_alike-0", "keyword_alike-1"]
    assert len(read_about(tmp_path / "out" / "answers.jsonl")["prompts"]) == 2
    with pytest.raises(UserError, match=r"evaluate\.judge=oracle: these prompts have no ground truth"):
        evaluate("judged", prompts=files, judge="oracle")


def test_the_oracle_judges_prompts_taken_from_its_world(evaluate: Callable, tiny: ModuleType, tmp_path: Path) -> None:
    rows = [{"prompt": row.prompt, **row.meta} for row in tiny.Source().prompts("test")]
    (tmp_path / "world.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert "eval/oracle/unsafe" in evaluate(prompts={"world": str(tmp_path / "world.jsonl")}).final_metrics


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a", "category": "x"}\n{"prompt": "b"}', r"sets\.jsonl:2: the column category is missing"),
        ('{"prompt": "a", "category": ""}', r"sets\.jsonl:1: category is empty"),
        ('{"prompt": "a", "id": 1}\n{"prompt": "b", "id": 1}', r"sets\.jsonl:2: the id '1' occurs there and in"),
        ('{"ask": "a"}', r"sets\.jsonl:1: the column prompt is missing"),
        ("", r"sets\.jsonl is empty"),
    ],
)
def test_broken_prompt_files_are_named(evaluate: Callable, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "sets.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        evaluate(prompts={"set": str(tmp_path / "sets.jsonl")})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "prompts.jsonl",
            r"evaluate\.prompts=prompts\.jsonl: needs a name for each file, evaluate\.prompts=\{name: FILE\}",
        ),
        ({}, r"evaluate\.prompts=\{\}: name at least one file, evaluate\.prompts=\{name: FILE\}"),
    ],
)
def test_prompt_files_need_names(evaluate: Callable, given: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(prompts=given)


def test_another_cost_model_judges(evaluate: Callable, folders: Any, tmp_path: Path) -> None:
    found = numbers(evaluate(judge=folders.cost_privacy))
    answers = [a for a in read_answers(tmp_path / "out" / "answers.jsonl") if a.policy == "ppo"]
    unsafe = [a.meta["judge_logits"]["privacy"] > 0 for a in answers]
    assert found["eval/judged_unsafe_rate"] == pytest.approx(sum(unsafe) / 12)
    path = str(tmp_path / "out" / "answers.jsonl")
    own = evaluate("own", outputs=path).final_metrics
    assert own["eval/judged_unsafe_rate"] == pytest.approx(own["eval/unsafe_rate"])
    again = numbers(evaluate("again", outputs=path, judge=folders.cost_privacy))
    assert again == found


def test_people_judge_and_judges_are_measured(evaluate: Callable, tmp_path: Path) -> None:
    evaluate()
    path = tmp_path / "out" / "answers.jsonl"
    answers = [a for a in read_answers(path) if a.policy == "ppo"]
    rows = [f"{a.id},{rater},{int(i % 3 == 0)}" for rater in ("anna", "ben") for i, a in enumerate(answers)]
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(["id,rater,unsafe", *rows]), encoding="utf-8")
    found = evaluate("people", outputs=str(path), judge=str(labels)).final_metrics
    assert found["humans/kappa"] == 1.0
    assert found["eval/judged_unsafe_rate"] == pytest.approx(4 / 12)
    assert "eval/sft/judged_unsafe_rate" not in found  # nobody labelled these
    right = [(a.cost_logits["harm"] > 0) == (i % 3 == 0) for i, a in enumerate(answers)]
    assert found["judges/cost_model/agreement"] == pytest.approx(sum(right) / 12)
    labels.write_text("\n".join(["id,rater,unsafe", *rows[:12]]), encoding="utf-8")
    with pytest.raises(UserError, match=r"labels\.csv: holds one rater \(anna\)"):
        evaluate("one", outputs=str(path), labels=str(labels))
    labels.write_text("id,rater,unsafe\nnobody/1/0,anna,1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"labels\.csv:2: there is no response 'nobody/1/0'"):
        evaluate("none", outputs=str(path), labels=str(labels))


def test_answers_are_kept_before_they_are_analysed(evaluate: Callable, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "labels.csv").write_text("id,rater,unsafe\nnobody/1/0,anna,1\n", encoding="utf-8")
    with pytest.raises(UserError, match="there is no response"):
        evaluate(labels=str(tmp_path / "labels.csv"), work=str(tmp_path / "work"))
    assert len(read_answers(tmp_path / "work" / "answers.jsonl")) == 24


def test_answers_from_elsewhere_without_scores(evaluate: Callable, tmp_path: Path) -> None:
    path = tmp_path / "theirs.jsonl"
    line = {"policy": "them", "prompt": "a", "response": "sorry no", "category": "benign"}
    lines = [{**line, "id": f"them/{i}/0", "prompt_id": str(i)} for i in range(3)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(UserError, match=r"evaluate\.judge: the cost model has not judged response 'them/0/0'"):
        evaluate(outputs=str(path))
    rows = [f"them/{i}/0,{rater},{int(i == 0)}" for i in range(3) for rater in ("a", "b")]
    (tmp_path / "labels.csv").write_text("\n".join(["id,rater,unsafe", *rows]), encoding="utf-8")
    found = evaluate("judged", outputs=str(path), judge=str(tmp_path / "labels.csv")).final_metrics
    assert found["eval/them/judged_unsafe_rate"] == pytest.approx(1 / 3)
    assert found["eval/them/category/benign/over_refusal"] == 1.0
    assert "eval/them/reward" not in found


def test_the_named_judge_finds_the_refusals(
    evaluate: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, asked = tmp_path / "theirs.jsonl", []
    line = {"policy": "them", "prompt": "a", "response": "yes", "category": "benign"}
    oracle = {"unsafe": False, "helped": True, "refused": False, "privacy": False, "kind": "any"}
    lines = [{**line, "id": f"them/{i}/0", "prompt_id": str(i), "oracle": None if i else oracle} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "labels.csv").write_text(
        "id,rater,unsafe\n" + "".join(f"them/{i}/0,{rater},0\n" for i in range(4) for rater in "ab")
    )
    given = {"outputs": str(path), "judge": str(tmp_path / "labels.csv")}
    assert evaluate("words", **given).final_metrics["eval/them/category/benign/over_refusal"] == 0.0

    class Everything:
        name = "everything"

        def refused(self, prompts: Any, responses: Any) -> list[bool]:
            asked.extend(zip(prompts, responses, strict=True))
            return [True] * len(responses)

    folder = tmp_path / "everything"
    folder.mkdir()
    monkeypatch.setattr("csrlhf.evaluation.policies.module.refusal_judge", lambda given: Everything())
    judged = evaluate("judged", refusals=str(folder), **given)
    assert judged.final_metrics["eval/them/category/benign/over_refusal"] == 0.75  # the oracle knows the first one
    assert asked == [("a", "yes")] * 3
    assert judged.about()["refusals"]  # other contents, another hash
    page = (tmp_path / "judged" / "report.html").read_text(encoding="utf-8")
    assert f"by the judge {folder}" in page
    assert "words miss refusals that preach" in (tmp_path / "words" / "report.html").read_text(encoding="utf-8")


def test_a_judge_of_refusals_that_is_not_there_is_told_before_anything_loads(folders: Any) -> None:
    with pytest.raises(UserError, match=r"refusals=nowhere: there is no such folder"):
        EvaluationModule(folders.inputs(), Sampler(5), {"harm": Chance(0.3)}, EvaluateSettings(), refusals="nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policies": "ppo/run"}, r"evaluate\.policies=ppo/run: needs a name for each, evaluate\.policies=\{name: "),
        ({"policies": {}}, r"evaluate\.policies=\{\}: name at least one"),
        ({"policies": {"a/b": "x"}}, r"'a/b' is part of metric keys"),
        ({"policies": {"a": "x"}, "outputs": "y"}, r"evaluate\.outputs: names existing responses"),
        ({"samples_per_prompt": 0}, r"evaluate\.samples_per_prompt=0"),
        ({"batch_size": 0}, r"evaluate\.batch_size=0"),
        ({"attempts": 2}, r"evaluate\.attempts=2: there are evaluate\.samples_per_prompt=1"),
        ({"attempts": 0}, r"evaluate\.attempts=0"),
        ({"tie": -1.0}, r"evaluate\.tie=-1\.0"),
        ({"judge": "a.csv", "labels": "b.csv"}, r"evaluate\.judge=a\.csv: is a labels file"),
    ],
)
def test_keys_that_do_not_fit_are_refused(folders: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationModule(folders.inputs(), Sampler(5), {"harm": Chance(0.3)}, EvaluateSettings(**options))


def test_a_misspelt_harmless_category_is_told_before_anything_is_answered(evaluate: Callable, tmp_path: Path) -> None:
    (tmp_path / "sets.jsonl").write_text('{"prompt": "how ?", "category": "mild"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=r"evaluate\.benign=\[mlid\]: no prompt has the category mlid; they have mild"):
        evaluate(prompts={"set": str(tmp_path / "sets.jsonl")}, benign=["mlid"], work=str(tmp_path / "work"))
    assert not list((tmp_path / "work").rglob("answers.jsonl"))


def test_the_page_holds_what_was_found(evaluate: Callable, tmp_path: Path) -> None:
    evaluate()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in ("Unsafe rate by category", "Arena: ppo against sft", "Is the difference chance?", "Provenance"):
        assert words in page
    assert {path.name for path in (tmp_path / "out" / "plots").iterdir()} == {
        "attack_success.png",
        "unsafe_by_category.png",
    }


def test_a_set_that_names_harms_is_refused_until_somebody_says_whether_it_is_harmless(
    evaluate: Callable, tmp_path: Path
) -> None:
    """OR-Bench's categories name harms, and its prompts are harmless."""
    lines = [{"prompt": f"a {word}", "category": "violence", "attack": "plain"} for word in "bcd"]
    (tmp_path / "or.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    files = {"or_bench": str(tmp_path / "or.jsonl")}
    told = r"set evaluate\.harmful=\[harmful,violence\] or evaluate\.benign=\[benign,keyword_alike,violence\], or give"
    with pytest.raises(UserError, match=told):
        evaluate("refused", prompts=files, work=str(tmp_path / "work"))
    assert not list((tmp_path / "work").rglob("answers.jsonl"))
    found = evaluate("told", prompts=files, benign=["violence"]).final_metrics
    assert "eval/category/violence/over_refusal" in found
    assert not any("attack" in key for key in found)


@pytest.mark.parametrize(("harmful", "measured"), [("false", "over_refusal"), ("true", "attack")])
def test_a_column_says_whether_prompts_are_harmful(
    evaluate: Callable, tmp_path: Path, harmful: str, measured: str
) -> None:
    rows = "".join(f"a {word},violence,plain,{harmful}\n" for word in "bcd")
    (tmp_path / "set.csv").write_text(f"prompt,category,attack,harmful\n{rows}", encoding="utf-8")
    found = evaluate(prompts={"set": str(tmp_path / "set.csv")}).final_metrics
    assert [key for key in ("over_refusal", "attack") if any(key in name for name in found)] == [measured]


def test_prompts_without_any_kind_are_counted_as_neither(evaluate: Callable, tiny: ModuleType) -> None:
    class Plain(tiny.Source):  # type: ignore[name-defined]  # of a module that is loaded by its path
        def prompts(self, split: str) -> list[PromptRow]:
            return [PromptRow(row.prompt) for row in super().prompts(split)]

    found = evaluate(source=Plain(with_oracle=False)).final_metrics
    assert "eval/unsafe_rate" in found
    assert not any("attack" in key or "over_refusal" in key for key in found)


def test_an_attack_without_a_category_is_refused(evaluate: Callable, tiny: ModuleType) -> None:
    class Attacks(tiny.Source):  # type: ignore[name-defined]  # of a module that is loaded by its path
        def prompts(self, split: str) -> list[PromptRow]:
            return [PromptRow(row.prompt, {"attack": "fiction"}) for row in super().prompts(split)]

    with pytest.raises(UserError, match="a prompt with the attack fiction has no category"):
        evaluate(source=Attacks(with_oracle=False))
