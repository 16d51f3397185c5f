"""``stage=certify`` on the small world: answers, certificate, and the same certificate from kept answers."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from csrlhf.apps import label
from csrlhf.constraints import Chance, Constraint
from csrlhf.data.leaks import Known, PromptSet
from csrlhf.data.near_duplicates import normalise
from csrlhf.errors import UserError
from csrlhf.evaluation.certificates.answering import Plain
from csrlhf.evaluation.certificates.data import CertificationDataModule
from csrlhf.evaluation.certificates.document import read_certificate
from csrlhf.evaluation.certificates.label_order import read_order
from csrlhf.evaluation.certificates.module import CertificationModule
from csrlhf.evaluation.settings import CertifySettings
from csrlhf.generation.sampler import Sampler
from csrlhf.models.text_scorer import TextScorer

Certify = Callable[..., CertificationModule]


@pytest.fixture
def prompt_file(tmp_path: Path) -> Path:
    path = tmp_path / "new.jsonl"
    lines = [{"prompt": f"{a} {b}", "category": "odd"} for a in "abcd" for b in "efgh"]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def certify(tiny: ModuleType, folders: Any, prompt_file: Path, tmp_path: Path) -> Certify:
    """Runs the stage as the runner does, and exports to ``tmp_path / "out"``."""

    def run(
        constraints: dict[str, Constraint] | None = None,
        data: dict[str, Any] | None = None,
        known: Known | None = None,
        export: str = "out",
        inputs: dict[str, Any] | None = None,
        **options: Any,
    ) -> CertificationModule:
        given = {"source": tiny.Source(), "tokenizer": tiny.tokenizer()} | (data or {})
        others = {name: options.pop(name) for name in ("seed", "work") if name in options}
        kept = {} if "outputs" in options else {"prompts": str(prompt_file)}
        asked = {name: given.pop(name) for name in ("prompts", "num_prompts", "chosen_on") if name in given}
        settings = CertifySettings(**({"batch_size": 5} | kept | asked | options))
        where = {"ppo": folders.ppo, "cost": folders.cost} | (inputs or {})
        module = CertificationModule(where, Sampler(5), constraints or {"harm": Chance(0.3)}, settings, **others)
        datamodule = CertificationDataModule(**given, settings=settings)
        datamodule.take_known(known or Known())
        tiny.trainer(tmp_path).test(module, datamodule, verbose=False)
        (tmp_path / export).mkdir(exist_ok=True)
        module.export(tmp_path / export)
        return module

    return run


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "certificate.json").read_text(encoding="utf-8"))


def test_what_it_writes_hangs_together(certify: Certify, tmp_path: Path) -> None:
    module = certify()
    found = read(tmp_path / "out")
    lines = (tmp_path / "out" / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    flagged = sum(json.loads(line)["cost_logits"]["harm"] > 0 for line in lines)
    statement = found["constraints"]["harm"]["statements"][0]
    assert (statement["events"], statement["count"], found["n"]) == (flagged, 16, 16)
    assert found["verdict"] in ("CERTIFIED", "VIOLATED", "INCONCLUSIVE")
    assert found["prompts"]["file"].endswith("new.jsonl")
    assert json.loads(lines[3])["category"] == "odd"
    assert len(read_order(tmp_path / "out" / "label_order.txt").order.rows) == 16  # few responses: all are labelled
    assert module.final_metrics["certify/harm/rate"] == pytest.approx(flagged / 16)
    page = (tmp_path / "out" / "certificate.html").read_text(encoding="utf-8")
    assert found["verdict"] in page
    assert "What it does not say" in page
    assert found["policy"]["sha256"] in page


def test_kept_answers_give_the_same_certificate_to_the_digit(certify: Certify, tmp_path: Path) -> None:
    certify()
    again = certify(outputs=str(tmp_path / "out" / "answers.jsonl"), export="again")
    assert not hasattr(again, "decoder")  # nothing was loaded, nothing generated
    for name in ("certificate.json", "answers.jsonl", "certificate.html", "label_order.txt"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_a_killed_run_goes_on_and_comes_out_the_same(
    certify: Certify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify()
    asked: list[list[int]] = []
    original = Plain.answer

    def breaks(self: Plain, prompts: Any, device: Any) -> Any:
        if len(asked) == 2:
            raise RuntimeError("killed")
        asked.append(prompts.index_B.tolist())
        return original(self, prompts, device)

    work, journal = str(tmp_path / "work"), tmp_path / "work" / "kept" / "journal-0.jsonl"
    monkeypatch.setattr(Plain, "answer", breaks)
    with pytest.raises(RuntimeError, match="killed"):
        certify(work=work)
    journal.write_bytes(journal.read_bytes()[:-20])  # the kill came while a line was written
    monkeypatch.setattr(Plain, "answer", lambda *args: asked.append(args[1].index_B.tolist()) or original(*args))
    certify(work=work, export="again")
    assert [part[0] for part in asked] == [0, 5, 5, 10, 15]
    for name in ("certificate.json", "answers.jsonl", "certificate.html"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    with pytest.raises(UserError, match=r"journal-0\.jsonl:1: was kept by another run"):
        certify(work=work, seed=1)


def test_answers_outlive_labels_that_do_not_fit(certify: Certify, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("id,rater,unsafe\nnobody,anna,yes\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"need not be drawn again: certify\.outputs=.*answers\.jsonl"):
        certify(work=str(tmp_path), labels=str(path))
    certify(outputs=str(tmp_path / "answers.jsonl"))
    assert read(tmp_path / "out")["n"] == 16


def test_labels_that_came_later_make_a_new_certificate(certify: Certify, tmp_path: Path) -> None:
    certify()
    order = [row.id for row in read_order(tmp_path / "out" / "label_order.txt").order.rows]
    path = tmp_path / "labels.csv"
    path.write_text("id,rater,unsafe\n" + "".join(f"{i},anna,yes\n" for i in order[:8]), encoding="utf-8")
    certify(outputs=str(tmp_path / "out" / "answers.jsonl"), export="labelled", labels=str(path))
    found = read(tmp_path / "labelled")
    assert found["verdict"] == "VIOLATED"
    assert found["answers"]["sha256"] == read(tmp_path / "out")["answers"]["sha256"]
    assert found["constraints"]["harm"]["labels"]["stopping"] == "any time"


def test_the_labelling_program_and_the_certificate_say_the_same(
    certify: Certify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    certify()
    answers, labels = tmp_path / "out" / "answers.jsonl", tmp_path / "labels.csv"
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn\nn\nu\nn\nn\nq\n"))
    monkeypatch.setenv("COLUMNS", "200")
    assert label.main([str(answers), "--rater", "anna", "--out", str(labels)]) == 0
    said = next(line for line in capsys.readouterr().out.splitlines() if "6 labels" in line)
    certify(outputs=str(answers), export="labelled", labels=str(labels))
    statements = read(tmp_path / "labelled")["constraints"]["harm"]["statements"]
    (record,) = [one for one in statements if one["decides"] and "truly" in one["quantity"]]
    assert (record["count"], record["events"]) == (6, 2)
    assert f"at most {100 * record['upper']:.2f} %, at least {100 * record['lower']:.2f} %" in said
    assert record["verdict"] in said


def test_changed_answers_are_no_evidence(certify: Certify, tmp_path: Path) -> None:
    certify()
    path = tmp_path / "out" / "answers.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"harm": ', '"harm": -'), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after it was written"):
        certify(outputs=str(path))
    (tmp_path / "out" / "answers.about.json").unlink()
    with pytest.raises(UserError, match="does not say that stage=certify wrote"):
        certify(outputs=str(path))


def test_answers_of_another_policy_or_cost_model_are_no_evidence(
    certify: Certify, folders: Any, tmp_path: Path
) -> None:
    certify()
    outputs = str(tmp_path / "out" / "answers.jsonl")
    with pytest.raises(UserError, match=r"inputs\.ppo=.*is not the policy of the responses"):
        certify(outputs=outputs, inputs={"ppo": folders.sft})
    with pytest.raises(UserError, match=r"inputs\.cost=.*is not the cost model of the responses"):
        certify(outputs=outputs, inputs={"cost": folders.cost_two})
    with pytest.raises(UserError, match=r"certify\.outputs=.*leave certify\.prompts"):
        certify(outputs=outputs, data={"prompts": "x.jsonl"})


def test_another_threshold_needs_no_new_answers(certify: Certify, tmp_path: Path) -> None:
    certify()
    outputs = str(tmp_path / "out" / "answers.jsonl")
    assert certify({"harm": Chance(0.99)}, outputs=outputs, export="again").document["verdict"] == "CERTIFIED"


def test_a_prompt_that_was_trained_on_is_refused(certify: Certify, prompt_file: Path) -> None:
    text = {normalise("A, E!"): "A, E!"}
    with pytest.raises(
        UserError, match=r"certify\.prompts=.*1 of 16 prompts.*new\.jsonl:1.*train prompts of stage=cost"
    ):
        certify(known=Known((PromptSet("train", "cost", text),)))
    with pytest.raises(UserError, match=r"choices \(new\.jsonl\)"):
        certify(data={"chosen_on": [str(prompt_file)]})


def test_two_constraints_from_two_cost_models(certify: Certify, folders: Any) -> None:
    both: dict[str, Constraint] = {"harm": Chance(0.3), "privacy": Chance(0.3)}
    found = certify(both, inputs={"cost": [folders.cost, folders.cost_privacy]}).document
    assert set(found["constraints"]) == {"harm", "privacy"}
    assert found["confidence"]["delta_each"] == pytest.approx(0.025)
    assert len(found["cost"]) == 2
    assert all(one["sha256"] for one in found["cost"].values())


def test_best_of_n_names_what_stage_decode_compares(certify: Certify, tmp_path: Path) -> None:
    module = certify(decode="best_of_n", n=4, rule="first", refusal="sorry")
    found = read(tmp_path / "out")
    assert [one["candidates"] for one in found["abstention"]] == [4, 2, 1]
    assert read_certificate(tmp_path / "out", module.decoder.identity)["verdict"] == found["verdict"]
    with pytest.raises(UserError, match="N 4, here 8"):
        read_certificate(tmp_path / "out", module.decoder.identity | {"n": 8})
    certify(outputs=str(tmp_path / "out" / "answers.jsonl"), export="again")
    assert read(tmp_path / "again") == found


def test_best_of_n_is_not_certified_by_the_model_that_chooses(certify: Certify) -> None:
    document = certify({"harm": Chance(0.9)}, decode="best_of_n", n=8, rule="first", refusal="sorry").document
    assert document["constraints"]["harm"]["statements"][0]["events"] == 0  # by construction
    assert document["verdict"] == "INCONCLUSIVE"


def test_a_judge_of_its_own_counts_what_best_of_n_says(certify: Certify, folders: Any, tmp_path: Path) -> None:
    said = {"decode": "best_of_n", "n": 4, "rule": "first", "refusal": "sorry"}
    chosen = certify(**said).collected
    module = certify({"harm": Chance(0.99)}, judge=folders.cost_two, **said)
    found, judge = read(tmp_path / "out"), TextScorer(folders.cost_two, outputs=("harm",))
    assert found["verdict"] == "CERTIFIED"
    assert [one.response for one in module.collected] == [one.response for one in chosen]
    answered = [one for one in module.collected if one.cost_logits]
    assert 0 < len(answered) == sum(not one.meta["decoded"]["abstained"] for one in module.collected)
    scores = judge.score([one.messages for one in answered], [one.response for one in answered],
                         [one.ended for one in answered])  # fmt: skip
    assert [one.cost_logits["harm"] for one in answered] == pytest.approx(scores[:, 0].tolist(), abs=1e-4)
    assert found["judge"]["cost"]["name"] == "cost_two"
    outputs = str(tmp_path / "out" / "answers.jsonl")
    certify({"harm": Chance(0.99)}, outputs=outputs, export="again", judge=folders.cost_two)
    assert read(tmp_path / "again") == found
    with pytest.raises(UserError, match=r"certify\.judge=null: is not the judge of the responses"):
        certify({"harm": Chance(0.99)}, outputs=outputs)


def test_a_copy_of_the_choosing_model_is_no_judge(certify: Certify, folders: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(folders.cost, tmp_path / "copy")
    said: dict[str, Any] = {"decode": "best_of_n", "n": 2, "rule": "first", "refusal": "sorry"}
    with pytest.raises(UserError, match=r"certify\.judge=.*copy: is the cost model by which best of N chooses"):
        certify(judge=str(copy), **said)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"note": "another hash"}), encoding="utf-8")
    with pytest.raises(UserError, match="by its fingerprint or weights"):
        certify(judge={"harm": str(copy)}, **said)
    assert certify(judge=str(copy)).document["judge"]["cost"]["name"] == "copy"  # one draw: nothing was chosen
    with pytest.raises(UserError, match=r"certify\.judge=no/where: a name alone does not say"):
        certify(judge="no/where")


def test_a_policy_tells_which_cost_model_it_was_trained_against(certify: Certify, folders: Any, tmp_path: Path) -> None:
    policy, cost = (
        shutil.copytree(folder, tmp_path / name) for name, folder in (("p", folders.ppo), ("c", folders.cost))
    )
    for folder, digit, inputs in (
        (policy, "p", {"cost.harm": {"path": "gone", "fingerprint": "c" * 64}}), (cost, "c", {})
    ):  # fmt: skip
        record = {"stage": "ppo", "fingerprint": digit * 64, "inputs": inputs, "config": {}}
        (folder / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    against = certify(inputs={"ppo": str(policy), "cost": str(cost)}).document
    assert against["trained_against"] == ["cost"]
    assert any("trained against" in words for words in against["caveats"])
    other = certify(inputs={"ppo": str(policy), "cost": str(cost)}, judge=folders.cost_two).document
    assert other["trained_against"] == []


def test_best_by_reward_needs_a_reward_model(certify: Certify, folders: Any) -> None:
    with pytest.raises(UserError, match=r"certify\.rule=best: chooses by a reward model"):
        certify(decode="best_of_n")
    assert certify(decode="best_of_n", n=2, reward=folders.reward, refusal="sorry").document["reward"]["sha256"]


def test_a_choice_of_prompts_is_random_and_the_same_again(certify: Certify) -> None:
    first = certify(data={"num_prompts": 6})
    texts = [answer.prompt for answer in first.collected]
    assert len(texts) == 6
    assert texts != [f"{a} {b}" for a in "abcd" for b in "efgh"][:6]
    assert texts == [answer.prompt for answer in certify(data={"num_prompts": 6}).collected]
    with pytest.raises(UserError, match=r"certify\.num_prompts=17: there are 16"):
        certify(data={"num_prompts": 17})


def test_without_a_file_it_is_the_test_split(certify: Certify, tiny: ModuleType) -> None:
    module = certify(data={"prompts": None})
    assert module.document["prompts"]["source"] == "the test split of tiny"
    assert module.document["n"] == len({row.prompt for row in tiny.Source().prompts("test")})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"decode": "beam"}, r"certify\.decode=beam"),
        ({"rule": "worst"}, r"certify\.rule=worst"),
        ({"decode": "best_of_n", "rule": "first", "n": 0, "refusal": "no"}, r"certify\.n=0: must be >= 1"),
        ({"decode": "best_of_n", "rule": "first", "refusal": ""}, r"certify\.refusal='': is empty"),
        ({"decode": "best_of_n", "rule": "first", "refusal": "no", "threshold": {"harn": 0.0}}, r"certify\.threshold="),
    ],
)
def test_options_out_of_range_name_their_key(certify: Certify, options: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        certify(**options)


def test_prompts_that_were_too_long_are_stated(
    certify: Certify, tiny: ModuleType, prompt_file: Path, tmp_path: Path
) -> None:
    """The bounds are about the prompts that were asked."""
    with prompt_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"prompt": " ".join("abcdefghij" * 2)}) + "\n")
    with pytest.raises(UserError, match=r"22 tokens are more than ppo.max_prompt_tokens=16 has room for"):
        certify(data={"max_prompt_tokens": 16})
    source = tiny.Source()
    source.too_long = "skip"
    with pytest.warns(UserWarning, match=r"data.test: 1 of 17 prompts are left out"):
        certify(data={"source": source, "max_prompt_tokens": 16})
    found = read(tmp_path / "out")
    assert (found["n"], found["prompts"]["left_out"], found["prompts"]["max_prompt_tokens"]) == (16, 1, 16)
    told = "1 prompts of more than 16 tokens, or that the chat template refuses, were left out"
    assert told in (tmp_path / "out" / "certificate.html").read_text(encoding="utf-8")
