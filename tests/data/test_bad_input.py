"""Mutated files through every adapter and format: rows, or one line that says what is wrong, nothing else."""

from __future__ import annotations

import copy
import csv
import gzip
import io
import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from csrlhf.data.jsonl import JsonlData
from csrlhf.data.public.aegis import Aegis
from csrlhf.data.public.beavertails import BeaverTails
from csrlhf.data.public.do_not_answer import DoNotAnswer
from csrlhf.data.public.harmbench import HarmBench
from csrlhf.data.public.helpsteer2 import HelpSteer2
from csrlhf.data.public.hh_rlhf import HhRlhf
from csrlhf.data.public.or_bench import OrBench
from csrlhf.data.public.pku_saferlhf import PkuSafeRlhf
from csrlhf.data.public.strongreject import StrongReject
from csrlhf.data.public.toxic_chat import ToxicChat
from csrlhf.data.public.ultrafeedback import UltraFeedback
from csrlhf.data.public.wildguardmix import WildGuardMix
from csrlhf.data.public.wildjailbreak import WildJailbreak
from csrlhf.data.public.xstest import XsTest
from csrlhf.data.source import KINDS
from csrlhf.errors import UserError

PAIR = {
    "prompt": "how?",
    "response_0": "so.",
    "response_1": "no.",
    "better_response_id": 0,
    "safer_response_id": 0,
    "is_response_0_safe": True,
    "is_response_1_safe": False,
    "response_0_harm_category": {"Violence": False},
    "response_1_harm_category": {"Violence": True},
}
HH = {"chosen": "\n\nHuman: Hi.\n\nAssistant: Hello.", "rejected": "\n\nHuman: Hi.\n\nAssistant: No."}
TURNS = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
SHAREGPT = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
OTHER = [TURNS[0], {"role": "assistant", "content": "no"}]
ADAPTERS: dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]] = {
    "jsonl": (JsonlData, [{"prompt": "how?", "response": "so.", "label": "Safe"}] * 2),
    "jsonl with pairs": (JsonlData, [PAIR] * 2),
    "pku_saferlhf": (PkuSafeRlhf, [PAIR] * 2),
    "beavertails": (BeaverTails, [{"prompt": "a", "response": "b", "is_safe": False, "category": {"theft": True}}] * 2),
    "hh_rlhf": (HhRlhf, [HH] * 2),
    "ultrafeedback": (
        UltraFeedback,
        [{"chosen": TURNS, "rejected": OTHER, "score_chosen": 8, "score_rejected": 3}] * 2,
    ),
    "wildguardmix": (
        WildGuardMix,
        [{"prompt": "a", "response": "b", "prompt_harm_label": "harmful", "response_harm_label": "unharmful"}] * 2,
    ),
    "aegis": (Aegis, [{"prompt": "a", "response": "b", "prompt_label": "safe", "response_label": "unsafe"}] * 2),
    "helpsteer2": (HelpSteer2, [{"prompt": "a", "response": "b", "helpfulness": n} for n in (1, 4)]),
    "harmbench": (HarmBench, [{"Behavior": "a", "SemanticCategory": "b", "ContextString": "c"}] * 2),
    "strongreject": (StrongReject, [{"forbidden_prompt": "a", "category": "b"}] * 2),
    "do_not_answer": (DoNotAnswer, [{"question": "a", "GPT4_response": "b", "GPT4_harmful": 1, "risk_area": "c"}] * 2),
    "wildjailbreak": (WildJailbreak, [{"vanilla": "a", "completion": "b", "data_type": "vanilla_benign"}] * 2),
    "toxic_chat": (ToxicChat, [{"user_input": "a", "toxicity": 1, "jailbreaking": 0}] * 2),
    "or_bench": (partial(OrBench, harmless=True), [{"prompt": "a", "category": "b"}] * 2),
    "jsonl with turns": (JsonlData, [{"messages": TURNS}] * 2),
    "jsonl with sharegpt": (JsonlData, [{"conversations": SHAREGPT}] * 2),
    "jsonl with chosen": (JsonlData, [{"chosen": TURNS, "rejected": OTHER}] * 2),
    "xstest": (XsTest, [{"prompt": "how?", "type": "homonyms", "label": "safe", "focus": "kill"}] * 2),
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=1).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore", delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: value if isinstance(value, str) else json.dumps(value) for key, value in row.items()})
    return file.getvalue().encode("utf-8", "surrogatepass")


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "jsonl": as_jsonl,
    "json": as_json,
    "tsv": partial(as_csv, delimiter="\t"),
    "jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "csv.zst": lambda rows: pyarrow.compress(as_csv(rows), codec="zstd", asbytes=True),
    "csv": as_csv,
    "parquet": as_parquet,
}


PAIRS = sorted({
    *((name, "jsonl") for name in ADAPTERS),
    *(("jsonl", extension) for extension in FORMATS),
    *((name, extension) for name in ("pku_saferlhf", "ultrafeedback") for extension in ("csv", "parquet")),
})  # fmt: skip
"""Every adapter and every format: all of both would take minutes."""


def read_everything(adapter: Callable[..., Any], path: Path, **options: Any) -> int:
    """All kinds of rows; counts the rows. A complaint must be a single line that names the file."""
    count = 0
    for kind in KINDS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of rows left out
                count += len(getattr(adapter(train=str(path), **options), kind)("train"))
        except UserError as error:
            message = str(error)
            assert "\n" not in message
            assert str(path) in message or "has no" in message
    return count


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("extension", FORMATS)
def test_the_unmutated_files_are_read(tmp_path: Path, name: str, extension: str) -> None:
    adapter, rows = ADAPTERS[name]
    path = tmp_path / f"x.{extension}"
    path.write_bytes(FORMATS[extension](rows))
    assert read_everything(adapter, path) > 0


@pytest.mark.parametrize(("name", "extension"), PAIRS)
@settings(max_examples=60, deadline=None)
@given(draw=st.data())
def test_mutated_bytes(
    tmp_path_factory: pytest.TempPathFactory, name: str, extension: str, draw: st.DataObject
) -> None:
    adapter, rows = ADAPTERS[name]
    content = bytearray(FORMATS[extension](rows))
    for _ in range(draw.draw(st.integers(0, 3))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del content[draw.draw(st.integers(0, len(content) - 1)) :]
    path = tmp_path_factory.mktemp("mutated") / f"x.{extension}"
    path.write_bytes(bytes(content))
    read_everything(adapter, path, bad_rows=draw.draw(st.sampled_from(["error", "skip"])))


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("extension", ["jsonl", "csv"])
@settings(max_examples=40, deadline=None)
@given(draw=st.data())
def test_mutated_fields(
    tmp_path_factory: pytest.TempPathFactory, name: str, extension: str, draw: st.DataObject
) -> None:
    adapter, rows = ADAPTERS[name]
    rows = copy.deepcopy(rows)
    for _ in range(draw.draw(st.integers(1, 3))):
        row = draw.draw(st.sampled_from(rows))
        column = draw.draw(st.sampled_from(sorted(row)))
        change = draw.draw(st.sampled_from(["drop", "retype", "inside"]))
        if change == "drop" and len(row) > 1:
            del row[column]
        elif change == "inside" and isinstance(row[column], list) and row[column]:
            row[column][draw.draw(st.integers(0, len(row[column]) - 1))] = draw.draw(values)
        else:
            row[column] = draw.draw(values)
    path = tmp_path_factory.mktemp("mutated") / f"x.{extension}"
    path.write_bytes(FORMATS[extension](rows))
    read_everything(adapter, path, bad_rows=draw.draw(st.sampled_from(["error", "skip"])))


@settings(max_examples=100, deadline=None)
@given(draw=st.data())
def test_mutated_datasets_folders(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("mutated") / "saved"
    datasets.Dataset.from_list(ADAPTERS["ultrafeedback"][1]).save_to_disk(folder)
    path = draw.draw(st.sampled_from([*sorted(folder.glob("*.arrow")), folder / "state.json"]))
    content = bytearray(path.read_bytes())
    for _ in range(draw.draw(st.integers(1, 4))):
        content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):
        del content[draw.draw(st.integers(0, len(content) - 1)) :]
    path.write_bytes(bytes(content))
    read_everything(UltraFeedback, folder)
