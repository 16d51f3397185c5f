"""The generated part of docs/configuration.md: what the code and the YAML files say, and all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from csrlhf.config import reference
from csrlhf.config.schema import SCHEMAS
from csrlhf.training.ppo.config import PPOConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_not_stale() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == reference.page(text), "run: python -m csrlhf.config.reference"


def test_a_page_without_the_place_for_it_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the line"):
        reference.page("# Configuration\n")


def test_a_setting_says_what_it_takes_its_default_and_what_it_means() -> None:
    rows = list(reference.settings_rows(PPOConfig(), "ppo"))
    assert "| `ppo.clip` | number, in (0, 1) | `0.2` | ε of the clipped surrogate. |" in rows
    [control] = [row for row in rows if row.startswith("| `ppo.kl_control` ")]
    assert control.startswith("| `ppo.kl_control` | `fixed`, `adaptive` | `fixed` | ")
    [wide] = [row for row in rows if row.startswith("| `ppo.value_clip` ")]
    assert "number, above 0; or null | `null`" in wide
    assert any(row.startswith("| `ppo.selection.price` ") for row in rows)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_setting_is_explained(name: str) -> None:
    for row in reference.settings_rows(SCHEMAS[name](), name):
        assert not row.endswith("|  |"), row


def test_keys_of_a_yaml_file_with_their_comments(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(
        "# @package _global_\n# What it is,\n# in two lines.\n_target_: a.B\nlevel: 0.5   # how much\n"
        "inner:   # a part\n"
        "  word: 'a # b'\n  list: [a, b]  # two\nnext: null\n",
        encoding="utf-8",
    )
    head, found = reference.entries(file)
    assert head == "What it is, in two lines."
    assert [(entry.key, entry.default, entry.comment) for entry in found] == [
        ("level", "0.5", "how much"),
        ("inner", "", "a part"),
        ("inner.word", "'a # b'", ""),
        ("inner.list", "[a, b]", "two"),
        ("next", "null", ""),
    ]
