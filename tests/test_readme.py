"""README and docs say what is there: links, overrides, keys, metrics and the tree; and its commands run."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf

import csrlhf
from csrlhf.config import search_path
from csrlhf.config.overrides import prepared
from csrlhf.data.source import Verdict
from csrlhf.data.toy.tokenizer import build_tokenizer
from csrlhf.stats.cost_report import cost_report
from csrlhf.stats.policy_report import JudgedAnswer, policy_metrics
from csrlhf.types import LabelledRow, PromptRow

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_OURS = {"key=value", "stage=perplexity", "constraint=capped", "advantage=to_go", "data=tickets", "rollout=cooling"}
"""The general form, and the choices of the package in docs/how-to/extend.md, which tests/test_plugins.py runs."""


@pytest.fixture(autouse=True, scope="module")
def example() -> Iterator[None]:
    """The package of docs/tutorials/add_a_penalty.md, as if installed."""
    point = EntryPoint("external_penalty", "external_penalty.conf", search_path.ENTRY_POINT_GROUP)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "examples" / "external_penalty"))
        patch.setattr(search_path, "entry_points", lambda group: [point])
        yield


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words behind ``python train.py`` of each command in the page's bash blocks."""
    lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if "python train.py" in line and "$(" not in line]
    words = [line[: line.index("|")] if "|" in line else line for line in words]
    return [line[line.index("train.py") + 1 :] for line in words]


def choices() -> Iterator[str]:
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        yield f"{path.parent.name}={path.stem}"


@functools.cache  # pages name the same commands
def composes(*words: str) -> bool:
    search_path.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        try:
            compose("train", overrides=prepared(words))
        except HydraException:
            return False
    return True


def spread(word: str) -> list[str]:
    """The words that a sweep (``-m``) makes of ``key=a,b``."""
    key, _, values = word.partition("=")
    return [f"{key}={value}" for value in values.split(",")] if re.fullmatch(r"[\w.,]+", values) else [word]


def refused(words: Sequence[str]) -> list[str]:
    """Those of ``key=value`` that compose with no choice; tried together first, since each trial takes a while."""
    if not words:
        return []
    once = {word.lstrip("+").split("=")[0]: word for word in words}  # a key cannot be given twice
    if len(once) < len(words):
        return [*refused(list(once.values())), *refused([word for word in words if word not in once.values()])]
    if composes(*words):
        return []
    if len(words) == 1:
        return [] if composes_with_some_choice(words[0]) else list(words)
    middle = len(words) // 2
    return [*refused(words[:middle]), *refused(words[middle:])]


def composes_with_some_choice(word: str) -> bool:
    """Alone, or with a choice of the group that the key belongs to (``penalty.rule`` needs ``lagrangian``)."""
    group = {"constraints": "constraint"}.get(word.split(".")[0], word.split(".")[0])
    return composes(word) or any(composes(choice, word) for choice in choices() if choice.startswith(f"{group}="))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(page)):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            assert found.exists(), f"{page.name}: {target}"
            assert not anchor or f"# {anchor.replace('-', ' ')}" in text(found).lower(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_composes(page: Path) -> None:
    for words in commands(page):
        if "--config-dir" in words:  # a folder of the reader's own: tests/apps/test_habits.py writes it and runs them
            continue
        given = [word for word in words if not word.startswith("-") and word != "job"]
        swept = [spread(word) if "-m" in words else [word] for word in given]
        for overrides in itertools.product(*swept):
            assert composes(*overrides), f"{page.name}: {shlex.join(words)}"
        for inner in re.findall(r"pipeline\.\w+=\[([^\]]*)\]", " ".join(given)):
            assert composes(*re.findall(r'"([^"]*)"', inner)), f"{page.name}: {inner}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_override_in_the_prose_composes(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)
    spans = [span.removeprefix("python train.py ") for span in re.findall(r"`([^`\n]+)`", prose)]
    words = {word for span in spans for word in span.split() if re.fullmatch(r"\+?[a-z_]+(\.\w+)*=[\w.\[\],/-]+", word)}
    assert not refused(sorted(words - NOT_OURS)), page.name


def test_the_python_of_the_readme_calls_what_there_is() -> None:
    [code] = blocks(ROOT / "README.md", "python")
    assert len(code.splitlines()) <= 6
    for call in (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)):
        if isinstance(call.func, ast.Attribute):
            function = getattr(csrlhf, call.func.attr)
            given = {keyword.arg: None for keyword in call.keywords if keyword.arg is not None}
            inspect.signature(function).bind(*call.args, **given)
    [settings] = re.findall(r"csrlhf\.train\((.*)\)$", code, re.MULTILINE)
    assert eval(f"csrlhf.compose({settings})", {"csrlhf": csrlhf}).penalty._target_.endswith("Lagrangian")


def test_every_prompt_that_is_asked_in_an_example_has_words_that_the_toy_world_knows() -> None:
    pages = [*PAGES, ROOT / "examples" / "quickstart.ipynb", *sorted((ROOT / "csrlhf").rglob("*.py"))]
    prompts = {prompt for page in pages for prompt in re.findall(r"[\"'`](how do i [^\"'`\\{]*\?)", text(page))}
    assert len(prompts) > 2
    known = set(build_tokenizer().get_vocab())
    assert not {prompt: unknown for prompt in prompts if (unknown := set(prompt.split()) - known)}


def test_every_choice_of_every_group_is_listed() -> None:
    page = text(ROOT / "docs" / "reference" / "configuration.md").partition("\n## Groups\n")[2].partition("\n## ")[0]
    folders = {path for path in (ROOT / "conf").iterdir() if path.is_dir()}
    for group in sorted(folders - {ROOT / "conf" / "hydra", ROOT / "conf" / "local"}):
        options = {path.stem for path in group.glob("*.yaml")}
        row = re.search(rf"^\| `{group.name}` \|([^|]*)\|", page, re.MULTILINE)
        if row is None:  # named in the sentence below the table
            assert options == {"default"}, group.name
            assert re.search(rf"`{group.name}`[^\n]*have one choice, `default`", page), group.name
        else:
            assert set(re.findall(r"`(\w+)`", row.group(1))) == options, group.name


EXPLAINED_WHOLE = (
    "architecture",
    "tokenizer",
    "mixture",
    "sizes",
    "sources",
    "proportions",
    "options",
    "averaging",
    "module",
    "datamodule",
)


FREE = ("penalty", "constraint", "data", "model")
"""Groups whose choices can be combined at will."""


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict) and value and name not in EXPLAINED_WHOLE:
            yield from keys(value, f"{prefix}{name}.")
        elif not name.startswith("_"):
            yield f"{prefix}{name}"


def test_every_key_that_people_type_is_explained() -> None:
    page = text(ROOT / "docs" / "reference" / "configuration.md")
    documented = set(re.findall(r"`([\w.<>]+)`", page))
    areas = ("penalty", "constraints", "ppo", "advantage", "rollout", "evaluate", "certify", "sft", "reward", "cost",
             "model", "data", "inputs", "pipeline", "seed", "artifacts", "name", "resume", "debug",
             "objective")  # fmt: skip
    search_path.register()
    groups = [[f"{group}={path.stem}" for path in sorted((ROOT / "conf" / group).glob("*.yaml"))] for group in FREE]
    for together in itertools.zip_longest(*groups):  # one of each group at a time
        choice = [word for word in together if word is not None]
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg: Any = OmegaConf.to_container(compose("train", overrides=choice), resolve=False)
        for key in keys({area: cfg[area] for area in areas}):
            shared = re.sub(r"^(sft|reward|cost)\.", "<stage>.", key)
            assert {key, shared} & documented, f"{choice}: {key} is not in docs/reference/configuration.md"


def documented_metrics() -> list[re.Pattern[str]]:
    """One pattern per key of docs/reference/metrics.md; ``<name>`` stands for any word, ``(`_low`)`` for a suffix."""
    page = text(ROOT / "docs" / "reference" / "metrics.md")
    patterns = [re.escape(key) for key in re.findall(r"`([a-z_]+/[\w/<>]+|<split>/[\w/<>]+)`", page)]
    measures = "accuracy|precision|recall|specificity|auroc|ece|brier|pair_accuracy"
    patterns = [re.sub(r"<split>", "(validation|test)", pattern) for pattern in patterns]
    patterns = [re.sub(r"<\w+>", r"[^/]+", pattern) for pattern in patterns]
    bounded = [f"{pattern}(_low|_high)" for pattern in patterns if pattern.endswith(tuple(measures.split("|")))]
    named = [re.sub(r"^(\(validation\|test\)/)", r"\1[^/]+/", pattern) for pattern in [*patterns, *bounded]]
    baseline = rf"baseline/(validation|test)/([^/]+/)?({measures})(_low|_high)?"
    return [re.compile(pattern) for pattern in [*patterns, *bounded, *named, baseline]]


def is_documented(key: str, patterns: list[re.Pattern[str]]) -> bool:
    return any(pattern.fullmatch(key) for pattern in patterns)


NOT_LOGGED = {"train/cost", "certify/x/true"}
"""The name of a quantity in messages (``require_finite``); the front of other keys."""


JUDGED = ("validation", "test")
FRONTS = {"certificates/document.py": ("certify/x",), "policies/analysis.py": ()}
"""What the first field of a file's keys stands for, if not for the split; of analysis.py it is several things, and
the test of the reports holds those keys."""


def logged_keys() -> Iterator[tuple[str, str]]:
    """Every string in the source that looks like a metric key, f-strings with ``x`` for their fields."""
    areas = "train|validation|test|constraint|penalty|policy|critic|selection|eval|certify|reward|cost"
    for package in ("training", "evaluation", "penalties", "advantages"):
        for path in sorted((ROOT / "csrlhf" / package).rglob("*.py")):
            fronts = FRONTS.get(f"{path.parent.name}/{path.name}", JUDGED)
            tree = ast.parse(text(path))
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                    key = node.value
                elif isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "{}" for p in node.values]
                    key = "".join(map(str, parts))
                    key = re.sub(r"(?<=/){}(?=\w)|(?<=\w){}$", "", key)  # a name that only several constraints need
                else:
                    continue
                for full in [f"{front}{key[2:]}" for front in fronts] if key.startswith("{}/") else [key]:
                    # A field at the end: the test of the reports. A number: an answer's id.
                    if re.fullmatch(rf"({areas})/[\w/{{}}]*\w(?<!/\d)", full):
                        yield path.name, full.replace("{}", "x")


def test_every_metric_in_the_source_is_explained() -> None:
    patterns, found = documented_metrics(), list(logged_keys())
    assert len(found) > 40  # the search itself works
    for file, key in found:
        if key in NOT_LOGGED:
            continue
        assert is_documented(key, patterns), f"{file} logs {key}, which is not in docs/reference/metrics.md"


def test_every_metric_of_the_reports_is_explained() -> None:
    patterns = documented_metrics()
    meta = {"category": "benign", "framing": "plain", "framing_seen": True}
    verdict = Verdict(False, True, False, "compliance", False)
    answer = JudgedAnswer(PromptRow("a", meta), "b", True, 0.0, (-1.0,), (0.0,), 0.0, verdict)
    reported = [f"{area}/{key}" for key in policy_metrics([answer]) for area in ("eval", "eval/sft")]
    rows = [LabelledRow(f"p{i}", "word word", (float(i % 2),) * 2, meta) for i in range(6)]
    for names in (("harm",), ("harm", "privacy")):
        for key in cost_report(names, np.full((6, len(names)), 0.4), rows, rows):
            before, baseline, after = key.partition("baseline/")
            reported += [f"{baseline}{split}/{before}{after}" for split in JUDGED]
    for key in reported:
        assert is_documented(key.replace("eval/sft/", "eval/"), patterns), f"{key} is not in docs/reference/metrics.md"


def tree() -> list[str]:
    """The paths of the annotated tree in CONTRIBUTING.md."""
    [block] = [block for block in blocks(ROOT / "CONTRIBUTING.md", "text") if "train.py    " in block]
    paths, folders = [], [""]
    for line in block.splitlines():
        name, phrase = re.split(r"\s{2,}", line.strip(), maxsplit=1) if "  " in line.strip() else (line.strip(), "-")
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth + 1 :]
        assert phrase, line
        paths.append(folders[depth] + name)
        folders.append(folders[depth] + name)
    return paths


def test_the_tree_names_what_exists_and_leaves_out_no_module() -> None:
    named = set(tree())
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    for path in named:
        assert (ROOT / path).exists(), path
        assert (ROOT / path).is_dir() == path.endswith("/"), path
    for path in map(Path, tracked):
        first, *rest = path.parts
        top = first + ("/" if rest else "")
        assert top in named or top in (".gitignore", ".pre-commit-config.yaml"), top
        if first in ("csrlhf", "conf") and rest:
            second = f"{first}/{rest[0]}" + ("/" if len(rest) > 1 else "")
            assert second in named, second


def own_data(folder: Path) -> None:
    """The files that the README's section on one's own data speaks of."""
    for name, start, count in (("train", 0, 24), ("validation", 24, 8)):
        rows = [
            {
                "prompt": f"question {i} ?",
                "response": ("take it .", "no way .")[i % 2],
                "label": ("Unsafe", "Safe")[i % 2],
            }
            for i in range(start, start + count)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_the_commands_of_the_readme_run_in_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    own_data(clone)
    lines = "\n".join(blocks(clone / "README.md", "bash")).splitlines()
    [python] = blocks(clone / "README.md", "python")
    # Into make's environment, and not into the one that runs this test; the installation is an edit of itself there.
    script = "\n".join(
        ["set -e", "make install", "source .venv/bin/activate", *lines, f"python - <<'END'\n{python}END\n"]
    )
    hidden = ("VIRTUAL_ENV", "PYTHONPATH", "OMP_NUM_THREADS", "PYTEST_CURRENT_TEST")
    variables = {key: value for key, value in os.environ.items() if key not in hidden} | {"WANDB_MODE": "offline"}
    done = subprocess.run(["bash", "-c", script], cwd=clone, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "FEASIBLE" in done.stdout
    # penalty=lagrangian re-uses SFT, reward and cost model; the same in Python finds all five stages done
    assert done.stdout.count(": unchanged, ") == 3 + 5
    runs = sorted(path.name.split("-")[0] for path in (clone / "artifacts" / "ppo").iterdir() if not path.is_symlink())
    assert runs == ["lagrangian", "rectified", "rectified"]  # the demo, the other penalty, the other cost model
    assert "baseline/validation/auroc" in json.loads((clone / "mine/cost/metrics.json").read_text(encoding="utf-8"))
