"""What every source of tables does: shares, places, rows left out, and settings that are checked."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.source import MissingRowsError
from csrlhf.errors import UserError


def table(folder: Path, rows: list[Any], name: str = "train.jsonl") -> str:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(folder / name)


def numbered(count: int) -> list[dict[str, str]]:
    words = ("apple", "bread", "cedar", "dough", "eagle")
    return [
        {"prompt": f"{words[i % 5]} {words[i // 5 % 5]} {i} ?", "response": "so.", "label": "Safe"}
        for i in range(count)
    ]


def test_a_share_holds_rows_of_train_out_of_it(tmp_path: Path) -> None:
    data = JsonlData(table(tmp_path, numbered(20)), validation=0.2, test=0.1)
    parts = [[row.prompt for row in data.labelled(split)] for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [14, 4, 2]
    assert sorted(itertools.chain(*parts)) == sorted(row["prompt"] for row in numbered(20))
    assert data.has("test")
    assert set(data.hashes()) == {"train"}
    other = JsonlData(table(tmp_path, numbered(20)), validation=0.2, test=0.1, split_seed=1)
    assert [row.prompt for row in other.labelled("train")] != parts[0]


def test_every_kind_of_row_is_split_alike(tmp_path: Path) -> None:
    data = JsonlData(table(tmp_path, numbered(20)), validation=0.2)
    assert [row.prompt for row in data.prompts("validation")] == [row.prompt for row in data.labelled("validation")]


def test_a_limit_takes_the_same_prompts_of_every_kind_whatever_their_order(tmp_path: Path) -> None:
    rows = numbered(40)
    data = JsonlData(table(tmp_path, rows), validation=0.2, max_rows=6)
    labelled, prompts = ([row.prompt for row in made("train")] for made in (data.labelled, data.prompts))
    assert len(labelled) == 6
    assert labelled == prompts
    assert labelled == [row["prompt"] for row in rows if row["prompt"] in labelled]  # in the table's order
    assert labelled != [row["prompt"] for row in rows][:6]  # a sorted file would be of one kind
    assert len(data.labelled("validation")) == 6
    reverse = JsonlData(table(tmp_path, rows[::-1], "reverse.jsonl"), validation=0.2, max_rows=6)
    assert {row.prompt for row in reverse.labelled("train")} == set(labelled)
    assert len(JsonlData(table(tmp_path, rows), max_rows=100).labelled("train")) == 40


def test_a_limit_holds_for_pairs_of_the_cost_model(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"{i} ?", "response": text, "label": label}
        for i in range(9)
        for text, label in (("a", "Safe"), ("b", "Unsafe"))
    ]
    assert len(JsonlData(table(tmp_path, rows)).cost_pairs("train")) == 9
    assert len(JsonlData(table(tmp_path, rows), max_rows=4).cost_pairs("train")) == 4


def test_places_name_the_first_line_of_each_prompt(tmp_path: Path) -> None:
    path = table(tmp_path, [{"prompt": "How?"}, {"prompt": "Why?"}, {"prompt": "how"}])
    assert JsonlData(path).places("train") == {"how": f"{path}:1", "why": f"{path}:2"}


def test_skipped_rows_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [
        *numbered(3),
        {"prompt": "", "response": "x", "label": "Safe"},
        *[{"prompt": "a", "response": "x", "label": "?"}] * 2,
    ]
    data = JsonlData(table(tmp_path, rows), bad_rows="skip")
    with pytest.warns(UserWarning, match="left out") as told:
        assert len(data.labelled("train")) == 3
    assert [str(one.message).split("train.jsonl")[0] for one in told] == [
        f"data.train: 1 of 6 rows are left out; the first: {tmp_path}/",
        f"data.train: 2 of 5 rows are left out; the first: {tmp_path}/",
    ]
    assert data.left_out["train"] == {
        "prompt is empty: drop the line or fill it": 1,
        "label is '?': it must be Safe or Unsafe; say what other values mean with data.labels={unsafe: [...], "
        "safe: [...]}": 2,
    }


def test_skipping_does_not_reach_into_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("{\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"x.jsonl:1: broken JSON"):
        JsonlData(str(tmp_path / "x.jsonl"), bad_rows="skip").prompts("train")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"bad_rows": "drop"}, "data.bad_rows=drop: must be error or skip"),
        ({"validation": 1.5}, "data.validation=1.5: a share of data.train must lie between 0 and 1"),
        ({"max_rows": 0}, "data.max_rows=0: must be a whole number of at least 1"),
        ({"constraints": ["harm", "harm"]}, "give one or more different names"),
    ],
)
def test_settings_are_checked_at_once(tmp_path: Path, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError) as caught:
        JsonlData(table(tmp_path, numbered(3)), **options)
    assert complaint in str(caught.value)


def test_a_share_without_a_kind_of_row_says_whose_share_it_is(tmp_path: Path) -> None:
    data = JsonlData(table(tmp_path, [{"prompt": row["prompt"]} for row in numbered(20)]), validation=0.2)
    with pytest.raises(
        MissingRowsError, match=r"data.validation=0.2 of .*train.jsonl holds no labelled responses: each line needs"
    ):
        data.labelled("validation")


def test_the_adapter_of_the_docs(tmp_path: Path, repository: Path) -> None:
    page = (repository / "docs" / "how-to" / "your_data.md").read_text(encoding="utf-8")
    code, config = (re.search(rf"```{name}\n(.*?)```", page, re.DOTALL) for name in ("python", "yaml"))
    assert code is not None
    assert config is not None
    names: dict[str, Any] = {}
    exec(code.group(1), names)
    options = yaml.safe_load(config.group(1))
    del options["_target_"]
    rows = [{"question": f"{row['prompt']}", "answer": "so.", "complaint": True} for row in numbered(20)]
    data = names["Tickets"](**(options | {"train": table(tmp_path, rows)}))
    assert len(data.labelled("validation")) == 2
    assert data.labelled("train")[0].unsafe == (1.0,)
    wrong = names["Tickets"](train=table(tmp_path, [*rows, {"question": "a", "answer": "b", "complaint": 3}]))
    with pytest.raises(UserError, match=r"train.jsonl:21: complaint is 3: it must be true or false"):
        wrong.labelled("train")
