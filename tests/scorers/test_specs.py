"""What a config may say of a scorer, what it rests on, and what it hashes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from csrlhf.errors import UserError
from csrlhf.runs.artifacts import file_hash
from csrlhf.scorers import specs


def test_texts_stand_for_endpoints_and_functions() -> None:
    endpoint = {"scorer": "endpoint", "url": "http://x/score"}
    assert specs.as_spec("http://x/score") == endpoint
    assert specs.as_spec("a/mine.py:cost") == {"scorer": "function", "function": "a/mine.py:cost"}
    assert specs.as_spec(Path("artifacts/cost")) == "artifacts/cost"
    given = OmegaConf.create({"harm": "http://x/score", "privacy": "artifacts/cost"})
    assert specs.as_spec(given) == {"harm": endpoint, "privacy": "artifacts/cost"}
    mix = {"scorer": "mix", "scorers": ["a", "http://x/score"], "weights": [1.0, 2.0]}
    assert specs.as_spec(OmegaConf.create(mix))["scorers"] == ["a", endpoint]


def test_every_scorer_has_a_name() -> None:
    guard = {"scorer": "guard", "model": "g", "style": "llama_guard"}
    assert specs.named("a") == {"cost": "a"}
    assert specs.named(guard) == {"cost": guard}
    assert specs.named(["a", guard]) == {"0": "a", "1": guard}
    assert specs.named({"harm": guard}) == {"harm": guard}


def test_labels_name_where_a_scorer_comes_from() -> None:
    assert specs.label("artifacts/cost") == "artifacts/cost"
    assert specs.label({"scorer": "guard", "model": "o/g"}) == "o/g"
    assert specs.label({"scorer": "endpoint", "url": "http://x", "model": "m"}) == "http://x (m)"
    assert specs.label({"scorer": "mix", "scorers": ["a", "http://x"]}) == "mix of a, http://x"
    assert specs.label({"scorer": "mine.Scorer"}) == "mine.Scorer"


def test_sources_are_all_that_a_spec_rests_on() -> None:
    spec = specs.as_spec(
        {"harm": {"scorer": "mix", "scorers": ["a", "http://x", {"scorer": "guard", "model": "g"}]}, "privacy": "b"}
    )
    found = dict(specs.sources(spec, "cost"))
    assert found == {
        "cost.harm.scorers.0": "a", "cost.harm.scorers.1.url": "http://x", "cost.harm.scorers.2.model": "g",
        "cost.privacy": "b",
    }  # fmt: skip
    for key in found:
        specs.put_at({"cost": spec}, key, "hash")
    assert dict(specs.sources(spec, "cost")) == dict.fromkeys(found, "hash")
    assert dict(specs.sources({"scorer": "endpoint", "url": "u", "model": "m"}, "c")) == {"c.url": "u"}


def test_a_function_s_fingerprint_is_that_of_its_file(scorer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = file_hash(scorer_file)
    assert specs.source_fingerprint("cost.function", f"{scorer_file}:cost") == f"{digest}:cost"
    monkeypatch.syspath_prepend(str(scorer_file.parent))
    assert specs.source_fingerprint("cost.function", "mine.cost") == f"{digest}:cost"
    assert specs.source_fingerprint("cost.model", "owner/name") == "owner/name"


def test_fingerprints_see_code_and_keys_but_not_how_answers_are_waited_for(scorer_file: Path) -> None:
    function = {"scorer": "function", "function": f"{scorer_file}:cost"}
    before = specs.fingerprint(function)
    assert specs.fingerprint(function | {"threshold": 0.5}) != before
    moved = scorer_file.with_name("moved.py")
    moved.write_bytes(scorer_file.read_bytes())
    assert specs.fingerprint(function | {"function": f"{moved}:cost"}) == before  # the same code
    scorer_file.write_text(scorer_file.read_text() + "\n# other\n", encoding="utf-8")
    assert specs.fingerprint(function) != before
    endpoint = {"scorer": "endpoint", "url": "http://x"}
    assert specs.fingerprint(endpoint | {"timeout": 3.0, "retries": 9}) == specs.fingerprint("http://x")
    assert specs.fingerprint(endpoint | {"model": "m"}) != specs.fingerprint(endpoint)
    assert specs.fingerprint({"harm": endpoint}) == {"harm": specs.fingerprint(endpoint)}


def test_a_template_s_text_counts_not_its_file(tmp_path: Path) -> None:
    text = "ask {prompt} end {response}"
    file = tmp_path / "asked.txt"
    file.write_text(text, encoding="utf-8")
    guard = {"scorer": "guard", "model": "owner/name", "template": text}
    assert specs.fingerprint(guard | {"template": str(file)}) == specs.fingerprint(guard)
    file.write_text(text + "!", encoding="utf-8")
    assert specs.fingerprint(guard | {"template": str(file)}) != specs.fingerprint(guard)


@pytest.mark.parametrize("function", ["nowhere.py:cost", "no_such_package.cost", "word"])
def test_a_function_that_is_not_there_is_refused(function: str) -> None:
    with pytest.raises(UserError, match=rf"cost\.function={function}: there is no such file or module"):
        specs.check_source("cost.function", function)


def test_reading_a_config_imports_no_torch() -> None:
    """The pipeline's waiting process reads specs, and is to start at once."""
    import subprocess
    import sys

    code = "import sys, csrlhf.scorers.specs, csrlhf.runs.plan; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 0


def test_plain_containers_are_json(tmp_path: Any) -> None:
    assert specs.plain(OmegaConf.create({"a": [1, {"b": None}]})) == {"a": [1, {"b": None}]}
    assert specs.plain({"a": tmp_path}) == {"a": str(tmp_path)}
