"""Classes and configs from outside: found, listed, suggested, trained, swept, fingerprinted, and refused in one line.

What docs/tutorials/add_a_penalty.md and docs/how-to/extend.md print is what runs here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir

from csrlhf.config import overrides, plugins, search_path
from csrlhf.ops.logprobs import gather_logprobs
from csrlhf.penalties import Weights
from csrlhf.runs.leak_check import earlier_prompts
from csrlhf.runs.rehearsal import rehearse
from csrlhf.runs.stages.pipeline import parts_of
from csrlhf.tracking.history import read_history

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "external_penalty"


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``offer(folder, name="their.conf")``: packages of a folder, as if installed, with these entry points."""

    def install(folder: Path, **points: str) -> None:
        monkeypatch.syspath_prepend(str(folder))
        found = [EntryPoint(name, value, search_path.ENTRY_POINT_GROUP) for name, value in points.items()]
        monkeypatch.setattr(search_path, "entry_points", lambda group: found)

    return install


@pytest.fixture
def example(offer: Callable) -> None:
    offer(EXAMPLE, external_penalty="external_penalty.conf")


def runs(tmp_path: Path) -> dict[str, Path]:
    """The folders of PPO runs by their kind."""
    found = [path for path in (tmp_path / "a" / "ppo").iterdir() if not path.is_symlink()]
    return {path.name.rsplit("-", 1)[0]: path for path in found}


def one_line(outcome: Any) -> str:
    assert outcome.code == 1, outcome.out
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("error: ")
    return line


# A package


def test_a_package_s_choice_is_listed_and_suggested(example: None, command_line: Callable) -> None:
    assert re.search(r"penalty: .*\bcvar_switch, ", command_line("--help").out)
    assert "did you mean penalty=cvar_switch?" in one_line(command_line("stage=ppo", "penalty=cvar_swich"))
    line = one_line(command_line("stage=ppo", "penalty=cvar_switch", "penalty.alpa=0.1"))
    assert "did you mean penalty.alpha?" in line


def test_a_package_s_choice_is_swept_beside_ours_and_leaves_its_name_and_code(
    example: None, command_line: Callable, ppo: list[str], tmp_path: Path
) -> None:
    outcome = command_line("-m", *ppo, "penalty=cvar_switch,none")
    assert outcome.code == 0, outcome.err
    found = runs(tmp_path)
    assert set(found) == {"cvar_switch", "none"}
    [_, first, *_] = read_history(found["cvar_switch"] / "history.csv")  # behind the look at the start policy
    assert "penalty/tolerance" in first
    records = {kind: json.loads((path / "csrlhf.json").read_text(encoding="utf-8")) for kind, path in found.items()}
    assert records["none"]["plugins"] == {}
    assert len(records["cvar_switch"]["plugins"]["external_penalty"]["code"]) == 64


def test_nothing_of_a_package_is_imported_to_find_its_configs(offer: Callable, tmp_path: Path) -> None:
    package = tmp_path / "loud"
    (package / "conf" / "penalty").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (package / "conf" / "penalty" / "loud.yaml").write_text("_target_: loud.Loud", encoding="utf-8")
    offer(tmp_path, loud="loud.conf")
    assert search_path.plugin_folders() == {"loud": package / "conf"}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("nowhere.conf", r"plug-in broken .*offers configs in nowhere\.conf, and there is no such package"),
        ("bare.conf", r"plug-in broken .*importing bare\.conf fails with RuntimeError\('no'\)"),
        ("twin.conf", r"plug-in broken .*penalty/linear\.yaml is there already, from csrlhf"),
    ],
)
def test_a_broken_package_is_named(
    offer: Callable, command_line: Callable, tmp_path: Path, point: str, message: str
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "__init__.py").write_text("raise RuntimeError('no')", encoding="utf-8")
    (tmp_path / "twin" / "conf" / "penalty").mkdir(parents=True)
    (tmp_path / "twin" / "conf" / "penalty" / "linear.yaml").write_text("_target_: twin.Linear", encoding="utf-8")
    offer(tmp_path, broken=point)
    assert re.search(message, one_line(command_line("stage=ppo", "--cfg", "job")))


# A file


def test_a_plus_builds_from_nothing() -> None:
    word = "+penalty._target_=my.Mine"
    assert overrides.from_nothing(["seed=1", word]) == ["seed=1", "~penalty", word]
    for there in ("~penalty", "penalty=none", "+penalty@x=none"):
        assert overrides.from_nothing([there, word]) == [there, word]
    assert overrides.from_nothing(["~penalty", word]) == overrides.from_nothing(overrides.from_nothing([word]))
    others = ["+penalty.width=1", "penalty._target_=my.Mine", "+nothing._target_=x", "++penalty._target_=x"]
    assert overrides.from_nothing(others) == others


@pytest.mark.parametrize(
    "words",
    [
        ["+penalty._target_=my_penalty.Mine", "+penalty.width=0.01"],
        pytest.param(
            ["penalty=none", "penalty._target_=my_penalty.Mine", "+penalty.width=0.01"], marks=pytest.mark.full
        ),
    ],
)
def test_a_class_in_a_file_trains_under_its_own_name_and_anew_after_an_edit(
    here: Path, command_line: Callable, ppo: list[str], words: list[str]
) -> None:
    assert command_line(*ppo, *words).code == 0
    [first] = runs(here).values()
    assert first.name.startswith("mine-")
    assert "penalty/multiplier" in read_history(first / "history.csv")[1]  # behind the look at the start policy
    record = json.loads((first / "csrlhf.json").read_text(encoding="utf-8"))
    assert record["config"]["penalty"] == {"_target_": "my_penalty.Mine", "width": 0.01}
    code = {"my_penalty": {"code": plugins.code_of({"_target_": "my_penalty.Mine"}, {})["my_penalty"]["code"]}}
    assert record["plugins"] == code
    with (here / "my_penalty.py").open("a", encoding="utf-8") as file:
        file.write("\n# edited\n")
    assert plugins.code_of({"_target_": "my_penalty.Mine"}, {}) != code


def test_a_pipeline_s_rehearsal_finds_the_file(here: Path, ppo: list[str], command_line: Callable) -> None:
    line = one_line(
        command_line(*ppo[1:], "stage.stages=[ppo]", "+penalty._target_=my_penalty.Mine", "+penalty.widht=0.01")
    )
    assert line == "error: penalty.widht=0.01: Mine has no such key (did you mean width?); it takes multiplier, width"


@pytest.mark.full
def test_a_pipeline_s_stages_find_the_file(here: Path, ppo: list[str]) -> None:
    words = [*ppo[1:], "stage.stages=[ppo]", "+penalty._target_=my_penalty.Mine", "+penalty.width=0.01"]
    command = [sys.executable, str(ROOT / "train.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(runs(here)) == ["mine"]


# What a class is made from


def test_the_code_of_a_package_counts_whole_and_its_version_and_nothing_of_libraries(
    offer: Callable, tmp_path: Path
) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (package / "a.py").write_text("", encoding="utf-8")
    offer(tmp_path)
    config = {"one": [{"_target_": "theirs.a.Class"}], "two": {"_target_": "torch.optim.SGD"}, "_target_": "csrlhf.x.Y"}
    first = plugins.code_of(config, {})
    assert set(first) == {"theirs"}
    assert plugins.code_of(config, {"theirs": "1.0"})["theirs"] == first["theirs"] | {"version": "1.0"}
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.pyc").write_text("1", encoding="utf-8")
    assert plugins.code_of(config, {}) == first
    (package / "helper.py").write_text("", encoding="utf-8")
    assert plugins.code_of(config, {}) != first
    assert plugins.code_of({"_target_": "not_there.Class"}, {}) == {}


def test_a_run_is_called_after_its_choice_or_its_class() -> None:
    assert plugins.run_kind("linear", True, "csrlhf.penalties.linear.Linear") == "linear"
    assert plugins.run_kind("cvar_switch", False, "external_penalty.cvar_switch.CVaRSwitch") == "cvar_switch"
    assert plugins.run_kind("none", True, "my_penalty.SmoothGate") == "smooth_gate"
    assert plugins.run_kind(None, False, "my_penalty.Mine") == "mine"


# The other groups, as docs/how-to/extend.md prints them


@pytest.fixture
def documented(offer: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package that docs/how-to/extend.md writes."""
    package = tmp_path / "installed" / "my_package"
    files = {"conf/__init__.py": "", "parts.py": ""}
    for block in [*blocks("how-to/extend.md", "python"), *blocks("how-to/extend.md", "yaml")]:
        place = re.match(r"# my_package/(\S+)\n(?s:(.*))", block)
        name, text = place.groups() if place else ("parts.py", block)  # a class of the page's first file
        files[name] = f"{files.get(name, '')}\n\n{text}"
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if not k.startswith("my_package")})
    offer(tmp_path / "installed", my_package="my_package.conf")
    return package


def test_one_of_each_kind_trains_a_policy_together(
    documented: Path, command_line: Callable, ppo: list[str], tmp_path: Path
) -> None:
    words = [word.replace("data=jsonl", "data=tickets") for word in ppo]
    outcome = command_line(*words, "constraint=capped", "advantage=to_go", "rollout=cooling", "penalty=linear")
    assert outcome.code == 0, outcome.err
    [run] = runs(tmp_path).values()
    record = json.loads((run / "csrlhf.json").read_text(encoding="utf-8"))
    built = [record["config"][key]["_target_"] for key in ("advantage", "data", "rollout")]
    assert built == ["my_package.parts.ToGo", "my_package.parts.Tickets", "my_package.parts.Cooling"]
    assert record["config"]["rollout"]["max_new_tokens"] == 4
    assert set(record["plugins"]) == {"my_package"}


@pytest.fixture
def perplexity(documented: Path, folders: Any, tmp_path: Path) -> list[str]:
    """Words of the documented stage, on demonstrations of the small world and a policy named ``mine``."""
    policy = shutil.copytree(folders.ppo, tmp_path / "mine")
    rows = {"train": ["a b", "c d"], "validation": ["e f", "g h", "a a"]}
    for name, prompts in rows.items():
        lines = [json.dumps({"prompt": prompt, "response": "yes no"}) for prompt in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    files = [f"data.{name}={tmp_path / name}.jsonl" for name in rows]
    return [f"artifacts={tmp_path / 'a'}", "data=jsonl", *files, "logger=none", f"inputs.ppo={policy}", "leaks=error"]


def test_the_documented_stage_runs_is_named_and_is_skipped_until_something_changes(
    perplexity: list[str], command_line: Callable, tmp_path: Path
) -> None:
    outcome = command_line("stage=perplexity", *perplexity)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "a" / "perplexity" / "mine"
    assert read_history(folder / "history.csv")[0]["validation/perplexity"] > 1
    record = json.loads((folder / "csrlhf.json").read_text(encoding="utf-8"))
    assert (record["stage"], record["artifact"]) == ("perplexity", "evaluation")
    assert set(record["inputs"]) == {"ppo"}
    assert set(record["data"]) == {"train", "validation"}
    assert set(record["plugins"]) == {"my_package"}
    outcome = command_line("stage.stages=[perplexity]", *perplexity)
    assert f"perplexity: unchanged, {folder}" in outcome.out, outcome.err
    assert command_line("stage=perplexity", *perplexity, "sft.max_tokens=16").code == 0
    assert (folder.parent / f"mine.{record['fingerprint'][:8]}").is_dir()  # kept beside the new one


def test_the_documented_stage_s_prompts_are_compared_with_those_that_the_policy_was_trained_on(
    perplexity: list[str], command_line: Callable, tmp_path: Path
) -> None:
    data = {"_target_": "csrlhf.data.jsonl.JsonlData", "train": str(tmp_path / "validation.jsonl")}
    record = {"fingerprint": "a", "stage": "ppo", "config": {"data": data}, "inputs": {}}
    (tmp_path / "mine" / "csrlhf.json").write_text(json.dumps(record), encoding="utf-8")
    message = "3 of 3 validation prompts of stage=perplexity are among the train prompts of stage=ppo"
    assert one_line(command_line("stage=perplexity", *perplexity)).startswith(f"error: {message}")
    assert command_line("stage=perplexity", *perplexity, "leaks=ignore").code == 0
    [known, _] = earlier_prompts({"perplexity": str(tmp_path / "a" / "perplexity" / "mine")})
    assert known["validation"].name == "validation prompts of stage=perplexity"  # to stages that build on it


def test_the_documented_stage_is_rehearsed_without_the_policy_that_is_not_there_yet(perplexity: list[str]) -> None:
    search_path.register()
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        cfg = compose("train", ["stage=perplexity", *perplexity, "inputs.ppo=null"])
    rehearse({"perplexity": parts_of(cfg)})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stage.declaration=my_package.perplexity.STAG"], "stage.declaration=my_package.perplexity.STAG: "),
        (["stage.declaration=math.pi"], "stage.declaration=math.pi: is a float, not a Stage"),
        (["stage.name=nothing", "stage.declaration=csrlhf.runs.stages.nothing.STAGE"], "stage.declaration=csrlhf.runs"),
    ],
)
def test_a_declaration_that_is_none_is_refused(
    perplexity: list[str], command_line: Callable, words: list[str], message: str
) -> None:
    assert one_line(command_line("stage=perplexity", *perplexity, *words)).startswith(f"error: {message}")


def test_the_documented_parts_do_what_they_say(documented: Path, tmp_path: Path) -> None:
    import my_package.parts as parts  # pyright: ignore[reportMissingImports]  # written by the fixture

    statistic = parts.Capped(0.1, cap=2.0)(torch.tensor([-1.0, 1.0, 5.0]))
    assert float(statistic.value) == pytest.approx(1.0)  # (0 + 1 + 2) / 3
    rewards = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True, False]])
    made = parts.ToGo(gamma=0.5)(rewards, torch.ones(1, 3, 2), mask, Weights(torch.ones(()), torch.tensor([2.0])))
    # To go: reward 1 + 0.5 · 2, 2; cost 0.5 · 1, 1. Minus the value 1; mixed (1 · A_r - 2 · A_c) / 3.
    assert made.advantage_BT[0].tolist() == pytest.approx([(1 + 2 * 0.5) / 3, 1 / 3, 0.0])
    (tmp_path / "t.csv").write_text("prompt,response,stars\nhelp,go away,1\nhelp me,sure,5\n", encoding="utf-8")
    rows = parts.Tickets(train=str(tmp_path / "t.csv")).labelled("train")
    assert [row.unsafe for row in rows] == [(1.0,), (0.0,)]
    cooling, logits = parts.Cooling(start=2.0, steps=2, max_new_tokens=4), torch.randn(3, 4, 5)
    whole = cooling.distribution(logits, torch.arange(4), 0)
    assert torch.allclose(whole[:, 0], logits[:, 0] / 2)
    assert torch.allclose(whole[:, 1], logits[:, 1] / 1.5)
    assert torch.equal(whole[:, 2:], logits[:, 2:])
    for t in range(4):  # one token at a time, as an answer is drawn
        assert torch.allclose(cooling.distribution(logits[:, t], torch.tensor(t), 0), whole[:, t])
    assert gather_logprobs(whole, torch.zeros(3, 4, dtype=torch.long)).shape == (3, 4)


def test_a_set_of_constraints_is_replaced_on_the_command_line(documented: Path) -> None:
    search_path.register()
    words = ["~constraint", "+constraints.harm._target_=my_package.parts.Capped", "+constraints.harm.threshold=0.1"]
    with initialize_config_dir(search_path.conf_folder(), version_base="1.3"):
        cfg = compose("train", overrides=words)
    assert cfg.constraints == {"harm": {"_target_": "my_package.parts.Capped", "threshold": 0.1}}
