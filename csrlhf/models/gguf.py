"""Weights in a GGUF file (llama.cpp's format), turned once into a folder that everything else here reads.

transformers dequantises the file in half a minute, most of which is the tokenizer; the result is kept as safetensors in
a cache, under the hash of what was read. Training goes on in full precision: a GGUF file is where a model comes from,
not how it is trained. Leaves out writing GGUF.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from csrlhf.errors import UserError

SUFFIX = ".gguf"

LAYOUT = 1
"""Of a converted folder; counted up where a conversion would come out otherwise."""

CACHE_VARIABLE = "CSRLHF_CACHE"
"""Environment variable: the folder for what is converted once. Default: ``~/.cache/csrlhf`` (``$XDG_CACHE_HOME``)."""

END_MARKERS = (
    *("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<end_of_turn>", "<eos>"),
    *("<|end|>", "<|return|>", "<｜end▁of▁sentence｜>", "[e~[", "<|endofturn|>", "<|end_of_turn|>"),
)
"""Control tokens that end an answer in the model families that people pass around as GGUF. The file itself names one
end; a model that was tuned on a second one goes on past its answer if only the first is listened to."""


def is_gguf(spec: str | Path) -> bool:
    """Whether a name is a GGUF file's."""
    return str(spec).lower().endswith(SUFFIX)


def converted(file: Path) -> Path:
    """The folder with a file's weights (float32 safetensors), configuration and tokenizer; made where there is none.

    Args:
        file: a GGUF file of a causal model whose architecture transformers can read.

    Raises:
        UserError: the file is missing, broken, or of an architecture that cannot be read; the package ``gguf`` is not
            installed; there is no room for the result.
    """
    if not file.is_file():
        raise UserError(f"there is no GGUF file {file}; name another one")
    file = file.resolve()
    return _converted(file, file.stat().st_size, file.stat().st_mtime_ns, cache_folder())


def cache_folder() -> Path:
    """Where converted models are kept."""
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "csrlhf"


@lru_cache(maxsize=8)  # a stage loads one model in several roles, and reading gigabytes for their hash takes a while
def _converted(file: Path, _size: int, _changed: int, cache: Path) -> Path:
    """As :func:`converted`; a file of another size or date is read anew."""
    from filelock import FileLock

    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache / "gguf" / f"{file.stem}-{digest[:16]}-{LAYOUT}"
    if folder.is_dir():
        return folder
    _check_package(file)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):  # of several processes one converts
            if not folder.is_dir():
                _convert(file, folder)
    except OSError as error:
        raise UserError(
            f"cannot keep the converted {file.name} in {cache}: {error.strerror or error}; make room, or name another "
            f"folder with {CACHE_VARIABLE}=FOLDER"
        ) from error
    return folder


def _check_package(file: Path) -> None:
    if find_spec("gguf") is None:
        raise UserError(f"{file}: reading GGUF needs the package gguf; run: pip install gguf")


def _convert(file: Path, folder: Path) -> None:
    """Write the folder as a whole or not at all."""
    print(f"{file.name}: converting to {folder} (once; half a minute for a small model)", flush=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _write(file, draft)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _write(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from csrlhf.models.loading import quiet_loading

    options: dict[str, Any] = {"gguf_file": file.name}
    with quiet_loading():
        try:
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
            model = AutoModelForCausalLM.from_pretrained(file.parent, dtype="float32", **options)
        except Exception as error:  # gguf's reader raises whatever it stumbles over in a broken file
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(f"cannot read {file} as GGUF: {reason}") from error
        # save_pretrained refuses what it takes for a quantised model; the weights are plain float32 by now.
        model.hf_quantizer = None  # type: ignore[assignment]  # an attribute of its own, no module
        del model.config.quantization_config  # type: ignore[attr-defined]  # set by the loading
        ends = end_ids(tokenizer)
        model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0] if ends else None
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def end_ids(tokenizer: Any) -> list[int]:
    """The tokenizer's end token first, then its other control tokens that are known to end an answer."""
    first = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    controls = {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    return first + sorted({controls[marker] for marker in END_MARKERS if marker in controls} - {*first})
