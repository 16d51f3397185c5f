from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from csrlhf.config import search_path
from csrlhf.errors import UserError
from csrlhf.runs import artifacts
from csrlhf.runs.plan import Plan, apply_plan, make_plan

CHOICES = {"penalty": "rectified"}


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Plan]:
    """``plan("stage=ppo", ...)`` with artifacts in ``tmp_path``."""

    def build(*words: str, root: Path = tmp_path) -> Plan:
        search_path.register()
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            cfg = compose("train", overrides=[f"artifacts={root}", *words])
        return make_plan(cfg, CHOICES, "python train.py")

    return build


def made(root: Path, *stages: str, digit: str = "a") -> None:
    """Puts empty results of stages in place."""
    for stage in stages:
        (root / stage).mkdir(parents=True, exist_ok=True)
        artifacts.write_json(root / stage / artifacts.RECORD, {"fingerprint": digit * 64})


def test_only_consumed_keys_change_a_fingerprint(plan: Callable[..., Plan], tmp_path: Path) -> None:
    base = plan("stage=sft").fingerprint
    assert plan("stage=sft").fingerprint == base
    assert plan("stage=sft", "sft.batch_size=32").fingerprint != base
    assert plan("stage=sft", "seed=1").fingerprint != base
    for other in (
        "ppo.kl_coef=0.2",
        "penalty=lagrangian",
        "constraints.harm.threshold=0.02",
        "logger=none",
        "debug=trace",
    ):
        assert plan("stage=sft", other).fingerprint == base, other
    assert plan("stage=sft", root=tmp_path / "elsewhere").fingerprint == base


def test_a_penalty_changes_ppo_alone_and_gets_a_folder_of_its_own(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost")
    for stage in ("reward", "cost"):
        assert plan(f"stage={stage}").fingerprint == plan(f"stage={stage}", "penalty=lagrangian").fingerprint
    first, second = plan("stage=ppo"), plan("stage=ppo", "constraints.harm.threshold=0.02")
    assert first.fingerprint != second.fingerprint
    assert first.folder == tmp_path / "ppo" / f"rectified-{first.fingerprint[:8]}"
    assert first.folder != second.folder
    assert plan("stage=ppo", "name=mine").folder == tmp_path / "ppo" / "mine"


def test_an_inputs_fingerprint_counts_and_its_place_does_not(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft")
    made(tmp_path / "moved", "sft")
    base = plan("stage=cost").fingerprint
    assert plan("stage=cost", f"inputs.sft={tmp_path / 'moved' / 'sft'}").fingerprint == base
    made(tmp_path, "sft", digit="b")
    assert plan("stage=cost").fingerprint != base


def test_only_inputs_that_the_config_refers_to_are_needed(plan: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match=r"stage=cost needs the result of stage=sft.*python train\.py stage=sft"):
        plan("stage=cost")
    assert plan("stage=cost", "model=minilm").inputs == {}


def test_evaluation_reads_the_newest_run_and_is_named_after_it(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost", "ppo/one", "ppo/two")
    artifacts.point_latest(tmp_path / "ppo" / "two")
    found = plan("stage=evaluate")
    assert found.inputs["ppo"] == str(tmp_path / "ppo" / "two")
    assert found.folder == tmp_path / "evaluate" / "two"
    named = plan("stage=evaluate", f"inputs.ppo={tmp_path / 'ppo' / 'one'}")
    assert named.folder == tmp_path / "evaluate" / "one"


def test_changed_data_changes_the_fingerprint(plan: Callable[..., Plan], tmp_path: Path) -> None:
    row = '{"prompt": "how do i bake bread ?", "response": "mix and bake .", "label": "%s"}\n'
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "validation")}
    for file in files.values():
        file.write_text(row % "safe" + row % "unsafe", encoding="utf-8")
    words = ["stage=cost", "data=jsonl", "model=minilm", *(f"data.{name}={file}" for name, file in files.items())]
    before = plan(*words).fingerprint
    files["train"].write_text(row % "safe" + row % "safe", encoding="utf-8")
    assert plan(*words).fingerprint != before


@pytest.mark.parametrize(
    "word",
    [
        "trainer.max_steps=7",
        "+trainer.limit_train_batches=1",
        "trainer.precision=bf16-mixed",
        "stage.monitor=validation/auroc",
        "cost.label_smoothing=0.3",
        "cost.batch_size=4",
        "datamodule.max_tokens=9",
        "callbacks.averaging={_target_: csrlhf.tracking.averaging.MovingAverage, decay: 0.9}",
    ],
)
def test_whatever_moves_the_result_moves_the_fingerprint(plan: Callable[..., Plan], tmp_path: Path, word: str) -> None:
    made(tmp_path, "sft")
    assert plan("stage=cost", word).fingerprint != plan("stage=cost").fingerprint


@pytest.mark.parametrize(
    "word", ["trainer.devices=2", "+trainer.strategy=ddp", "callbacks.progress.every=1.0", "callbacks.plots=null"]
)
def test_machine_and_display_leave_the_fingerprint_alone(plan: Callable[..., Plan], tmp_path: Path, word: str) -> None:
    made(tmp_path, "sft")
    assert plan("stage=cost", word).fingerprint == plan("stage=cost").fingerprint


def test_other_weights_in_a_model_folder_are_another_input(plan: Callable[..., Plan], tmp_path: Path) -> None:
    for words in (
        ["stage=sft", "model.policy.architecture=null", f"model.policy.path={tmp_path / 'base'}"],
        ["stage=cost", "model=minilm", f"model.score.backbone={tmp_path / 'base'}"],
    ):
        (tmp_path / "base").mkdir(exist_ok=True)
        (tmp_path / "base" / "model.safetensors").write_bytes(b"one")
        before = plan(*words).fingerprint
        assert plan(*words).fingerprint == before
        (tmp_path / "base" / "model.safetensors").write_bytes(b"two")
        assert plan(*words).fingerprint != before


@pytest.mark.parametrize("where", ["given", "standing"])
def test_a_result_of_the_wrong_stage_is_refused_as_an_input(
    plan: Callable[..., Plan], tmp_path: Path, where: str
) -> None:
    made(tmp_path, "sft", "reward", "cost")
    wrong = tmp_path / "reward"
    artifacts.write_json(wrong / artifacts.RECORD, {"fingerprint": "a" * 64, "stage": "cost"})
    words = [f"inputs.reward={wrong}"] if where == "given" else []
    with pytest.raises(UserError, match=r"inputs\.reward=.*holds the result of stage=cost; name one of stage=reward"):
        plan("stage=ppo", *words)


def test_a_trained_policy_can_be_trained_on(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost", "ppo/one")
    artifacts.write_json(tmp_path / "ppo" / "one" / artifacts.RECORD, {"fingerprint": "b" * 64, "stage": "ppo"})
    assert plan("stage=ppo", f"inputs.sft={tmp_path / 'ppo' / 'one'}").inputs["sft"].endswith("one")


@pytest.mark.parametrize("name", ["latest", "a/b", "'[1,2]'", "../up", ".hidden"])
def test_a_name_must_be_a_word_that_can_be_a_folder(plan: Callable[..., Plan], tmp_path: Path, name: str) -> None:
    made(tmp_path, "sft", "reward", "cost")
    with pytest.raises(UserError, match="name="):
        plan("stage=ppo", f"name={name}")


def test_several_cost_models_are_inputs_of_their_own(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "one", "two")
    one, two = tmp_path / "one", tmp_path / "two"
    mapping = plan("stage=ppo", "constraint=harm_privacy", f"inputs.cost={{harm: {one}, privacy: {two}}}")
    assert mapping.inputs["cost.harm"] == str(one)
    assert mapping.inputs["cost.privacy"] == str(two)
    listed = plan("stage=evaluate", "constraint=harm_privacy", f"inputs.cost=[{one},{two}]", f"inputs.ppo={one}")
    assert (listed.inputs["cost.0"], listed.inputs["cost.1"]) == (str(one), str(two))
    assert "cost" not in mapping.inputs | listed.inputs


def test_several_cost_models_count_by_their_fingerprints(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "one", "moved/one")
    made(tmp_path, "two", digit="c")
    words = ("stage=ppo", "constraint=harm_privacy")
    base = plan(*words, f"inputs.cost={{harm: {tmp_path}/one, privacy: {tmp_path}/two}}").fingerprint
    assert plan(*words, f"inputs.cost={{privacy: {tmp_path}/two, harm: {tmp_path}/moved/one}}").fingerprint == base
    assert plan(*words, f"inputs.cost={{harm: {tmp_path}/two, privacy: {tmp_path}/one}}").fingerprint != base


def test_several_cost_models_reach_the_module_as_they_were_given(tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "one", "two")
    search_path.register()
    for given in (f"{{harm: {tmp_path}/one, privacy: {tmp_path}/two}}", f"[{tmp_path}/one,{tmp_path}/two]"):
        with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
            cfg = compose("train", overrides=[f"artifacts={tmp_path}", "stage=ppo", f"inputs.cost={given}"])
        before = OmegaConf.to_container(cfg.inputs.cost)
        apply_plan(cfg, make_plan(cfg, CHOICES, "python train.py"))
        assert OmegaConf.to_container(cfg.module.inputs.cost) == before


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("inputs.cost={harm: /nowhere}", r"inputs\.cost\.harm=/nowhere: there is no such folder"),
        ("inputs.cost=[/nowhere]", r"inputs\.cost\.0=/nowhere: there is no such folder"),
        ("inputs.cost={harm: null}", r"inputs\.cost\.harm=None: there is no such folder"),
        ("inputs.cost=[]", r"inputs\.cost=\[\]: takes at least one folder"),
        ("inputs.reward=[/nowhere]", r"inputs\.reward=.*: takes one folder \(several are taken by inputs\.cost\)"),
    ],
)
def test_several_folders_where_they_cannot_be_are_refused(
    plan: Callable[..., Plan], tmp_path: Path, word: str, message: str
) -> None:
    made(tmp_path, "sft", "reward", "cost")
    with pytest.raises(UserError, match=message):
        plan("stage=ppo", word)


def test_each_of_several_cost_models_must_be_one(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost")
    artifacts.write_json(tmp_path / "reward" / artifacts.RECORD, {"fingerprint": "a" * 64, "stage": "reward"})
    with pytest.raises(UserError, match=r"inputs\.cost\.1=.*holds the result of stage=reward; name one of stage=cost"):
        plan("stage=ppo", f"inputs.cost=[{tmp_path}/cost,{tmp_path}/reward]")


def test_policies_are_inputs_in_place_of_the_trained_one(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost", "a")
    made(tmp_path, "b", digit="c")
    found = plan("stage=evaluate", f"evaluate.policies={{one: {tmp_path}/a, two: {tmp_path}/b}}")
    assert found.inputs["evaluate.policies.two"] == str(tmp_path / "b")
    assert "ppo" not in found.inputs
    assert found.folder.name == f"one_two-{found.fingerprint[:8]}"
    other = plan("stage=evaluate", f"evaluate.policies={{one: {tmp_path}/b, two: {tmp_path}/a}}")
    assert other.fingerprint != found.fingerprint


def test_files_of_an_evaluation_count_by_what_they_hold(plan: Callable[..., Plan], tmp_path: Path) -> None:
    for name, text in (("a.csv", "x"), ("b.csv", "x"), ("c.csv", "y"), ("answers.jsonl", "z")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    words = ("stage=evaluate", f"evaluate.outputs={tmp_path}/answers.jsonl")
    base = plan(*words, f"evaluate.labels={tmp_path}/a.csv")  # kept answers need no model
    assert base.inputs == {}
    assert base.data["evaluate.labels"] == plan(*words, f"evaluate.labels={tmp_path}/b.csv").data["evaluate.labels"]
    assert plan(*words, f"evaluate.labels={tmp_path}/b.csv").fingerprint == base.fingerprint
    assert plan(*words, f"evaluate.labels={tmp_path}/c.csv").fingerprint != base.fingerprint
    assert base.folder.name == f"answers-{base.fingerprint[:8]}"


@pytest.mark.parametrize("stage", ["ppo", "evaluate"])
def test_a_judge_of_refusals_counts_by_what_its_folder_holds(
    plan: Callable[..., Plan], tmp_path: Path, stage: str
) -> None:
    made(tmp_path, "sft", "reward", "cost", "ppo/latest")
    for name, text in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "refusals.json").write_text(text, encoding="utf-8")
    prints = {name: plan(f"stage={stage}", f"refusals={tmp_path}/{name}").fingerprint for name in "abc"}
    assert prints["a"] == prints["b"] != prints["c"]
    assert plan(f"stage={stage}").fingerprint not in prints.values()
    assert plan(f"stage={stage}", f"refusals={tmp_path}/a").inputs["refusals"] == f"{tmp_path}/a"
    with pytest.raises(UserError, match=r"refusals=/nowhere: there is no such file or folder"):
        plan(f"stage={stage}", "refusals=/nowhere")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evaluate.policies={mine: /nowhere}", r"evaluate\.policies\.mine=/nowhere: there is no such file or folder"),
        ("evaluate.labels=none.csv", r"evaluate\.labels=none\.csv: there is no such file or folder"),
        ("evaluate.policies={a.b: /nowhere}", r"a name with a point"),
    ],
)
def test_paths_of_an_evaluation_are_looked_at_first(
    plan: Callable[..., Plan], tmp_path: Path, word: str, message: str
) -> None:
    made(tmp_path, "sft", "reward", "cost", "ppo/latest")
    with pytest.raises(UserError, match=message):
        plan("stage=evaluate", word)


def test_a_judge_is_a_cost_model(plan: Callable[..., Plan], tmp_path: Path) -> None:
    made(tmp_path, "sft", "reward", "cost", "ppo/latest")
    artifacts.write_json(tmp_path / "reward" / artifacts.RECORD, {"fingerprint": "a" * 64, "stage": "reward"})
    with pytest.raises(UserError, match=r"evaluate\.judge=.*holds the result of stage=reward; name one of stage=cost"):
        plan("stage=evaluate", f"evaluate.judge={tmp_path}/reward")
