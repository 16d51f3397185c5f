"""A certificate speaks of one decoder only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from csrlhf.errors import InputWarning, UserError
from csrlhf.evaluation.certificates.document import differences, read_certificate, sealed

IDENTITY: dict[str, Any] = {
    "policy": "1" * 64,
    "reward": None,
    "cost": ["2" * 64],
    "rule": "first",
    "n": 4,
    "threshold": {"harm": -1.0},
    "sampling": {"max_new_tokens": 16, "temperature": 1.0},
}


def written(folder: Path, **content: Any) -> Path:
    path = folder / "certificate.json"
    document = {"verdict": "CERTIFIED", "decode": IDENTITY} | content
    path.write_text(json.dumps(sealed(document), indent=2), encoding="utf-8")
    return path


def test_a_bound_that_somebody_has_edited_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, bounds={"unsafe": 0.04})
    text = path.read_text(encoding="utf-8")
    for old, new in (("0.04", "0.01"), ('"CERTIFIED"', '"VIOLATED"'), ('"bounds"', '"more"')):
        path.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(UserError, match=r"was changed after it was written .*certify\.outputs="):
            read_certificate(path, IDENTITY)
    path.write_text(json.dumps(json.loads(text), indent=4, sort_keys=True), encoding="utf-8")
    assert read_certificate(path, IDENTITY)["bounds"] == {"unsafe": 0.04}, "another layout is the same content"
    content = json.loads(text)
    del content["content_sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.warns(InputWarning, match="nothing tells whether it was edited"):
        read_certificate(path, IDENTITY)


def test_its_bounds_come_with_the_hash_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, bounds={"unsafe": 0.01})
    content = read_certificate(path, IDENTITY)
    assert content["bounds"] == {"unsafe": 0.01}
    assert len(content["sha256"]) == 64
    assert read_certificate(tmp_path, IDENTITY) == content
    whole_numbers = IDENTITY | {"threshold": {"harm": -1}, "sampling": {"temperature": 1, "max_new_tokens": 16}}
    assert differences(whole_numbers, IDENTITY) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "3" * 64}, "policy 33333333, here 11111111"),
        ({"cost": []}, "cost models none, here 22222222"),
        ({"rule": "best"}, "rule best, here first"),
        ({"n": 8}, "N 8, here 4"),
        ({"threshold": {"harm": 0.0}}, r"threshold \{'harm': 0.0\}, here \{'harm': -1.0\}"),
        ({"sampling": {"max_new_tokens": 16, "temperature": 0.7}}, r"sampling \{.*0.7\}, here \{.*1.0\}"),
        ({"reward": "4" * 64}, "reward model 44444444, here None"),
    ],
)
def test_another_decoders_certificate(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = written(tmp_path, decode=IDENTITY | change)
    with pytest.raises(UserError, match=rf"decode.certificate=.*certifies other responses than these \({message}\)"):
        read_certificate(path, IDENTITY)


def test_what_is_no_certificate_of_best_of_n(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no such file; stage=certify certify=best_of_n makes one"):
        read_certificate(tmp_path / "none.json", IDENTITY)
    with pytest.raises(UserError, match="certifies plain responses of a policy"):
        read_certificate(written(tmp_path, decode={"decode": "plain", "sampling": {}}), IDENTITY)
    (tmp_path / "certificate.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="is not a certificate"):
        read_certificate(tmp_path, IDENTITY)
    (tmp_path / "certificate.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match="is not valid JSON"):
        read_certificate(tmp_path, IDENTITY)


def test_a_verdict_that_is_no_yes_is_told(tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match="its verdict is INCONCLUSIVE"):
        assert read_certificate(written(tmp_path, verdict="INCONCLUSIVE"), IDENTITY)["verdict"] == "INCONCLUSIVE"


def test_a_certificate_with_the_old_word_opens_and_is_told_in_todays(tmp_path: Path) -> None:
    """Its seal is that of the old word: whoever put in the new one by hand would have edited it."""
    old = {"statements": [{"verdict": "REFUSED"}, {"verdict": None}], "verdict": "REFUSED"}
    path = written(tmp_path, verdict="REFUSED", constraints={"harm": old})
    with pytest.warns(InputWarning, match="its verdict is VIOLATED"):
        content = read_certificate(path, IDENTITY)
    assert content["verdict"] == content["constraints"]["harm"]["verdict"] == "VIOLATED"
    assert [record["verdict"] for record in content["constraints"]["harm"]["statements"]] == ["VIOLATED", None]
    path.write_text(path.read_text(encoding="utf-8").replace("REFUSED", "VIOLATED"), encoding="utf-8")
    with pytest.raises(UserError, match="was changed after it was written"):
        read_certificate(path, IDENTITY)
