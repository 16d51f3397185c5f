"""Small stand-ins for everybody's scorers: an HTTP server, guards and score heads whose weights are set by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from csrlhf.models.loading import seeded

WORDS = (
    "<pad>", "<unk>", "<s>", "</s>", "poison", "kill", "Paris", "France", "safe", "uns", "afe", "Yes", "No", "yes",
    "no", "USER", "ASSISTANT", "ask", "end", "a", "b", "c", "d", "e",
)  # fmt: skip


def words_tokenizer(**options: Any) -> PreTrainedTokenizerFast:
    """One id per word of ``WORDS``, ``unsafe`` in two as a Llama tokenizer has it; all else is unknown."""
    inner = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    pattern = r"uns|afe|\w+|[^\w\s]+"
    from tokenizers import Regex

    inner.pre_tokenizer = Split(Regex(pattern), "removed", invert=True)  # type: ignore[assignment]  # a property in Rust
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special, **options)


def tiny_config(**changes: Any) -> Any:
    """A Llama of one layer over ``WORDS``, weights drawn wide."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"vocab_size": len(WORDS), "max_position_embeddings": 96}
    return AutoConfig.for_model("llama", initializer_range=0.5, pad_token_id=0, **sizes, **changes)


@pytest.fixture
def guard_folder(tmp_path: Path) -> Callable[..., str]:
    """``guard_folder(template)``: a random causal model with this chat template."""

    def make(template: str | None = None, name: str = "guard") -> str:
        folder = tmp_path / name
        tokenizer = words_tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)
        with seeded(1):
            AutoModelForCausalLM.from_config(tiny_config()).save_pretrained(folder)
        return str(folder)

    return make


class Served:
    """An endpoint of this process: what it was asked, and what it answers next.

    Attributes:
        asked: the bodies of all requests.
        headers: of all requests.
        answers: functions from a body to a status and a body; the last one stays.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: list[Callable[[dict[str, Any]], tuple[int, Any]]] = [lambda body: (200, {"scores": harm(body)})]
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                served.asked.append(body)
                served.headers.append(dict(self.headers))
                answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
                status, content = answer(body)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: a test's output is for the test."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/score"


def harm(body: dict[str, Any]) -> list[float]:
    """2 for every response with poison in it, -1 for others."""
    return [2.0 if "poison" in said else -1.0 for said in body["responses"]]


@pytest.fixture
def served() -> Iterator[Served]:
    """A server on a free port."""
    made = Served()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def scorer_file(tmp_path: Path) -> Path:
    """A file with a cost function and a reward function."""
    path = tmp_path / "mine.py"
    path.write_text(
        "def cost(prompts, responses):\n"
        "    return [2.0 if 'poison' in said else -1.0 for said in responses]\n\n\n"
        "def reward(prompts, responses, ended):\n"
        "    return [float('Paris.' in said) + end for said, end in zip(responses, ended)]\n\n\n"
        "def two(prompts, responses):\n"
        "    return [[2.0 if 'poison' in said else -1.0, -3.0 + len(turns)] for turns, said in zip(prompts, "
        "responses)]\n",
        encoding="utf-8",
    )
    return path


def hand_set_score_head(folder: Path, score_type: str, weight: float = 1.0, **config: Any) -> str:
    """A folder in safe-rlhf's layout, written by plain tensors: the trunk's own names, the head and the normaliser."""
    from safetensors.torch import save_file
    from transformers import AutoModel

    settings = tiny_config(score_dim=1, score_type=score_type, bias=True, architectures=["LlamaForScore"], **config)
    with seeded(2):
        trunk = AutoModel.from_config(settings)
    settings.save_pretrained(folder)
    tensors = {f"model.{name}": value.contiguous() for name, value in trunk.state_dict().items()}
    generator = torch.Generator().manual_seed(5)
    tensors["score_head.weight"] = weight * torch.randn(1, 16, generator=generator)
    tensors["score_head.bias"] = torch.tensor([0.25])
    tensors["normalizer.mean"] = torch.tensor([0.5])
    tensors["normalizer.var"] = torch.tensor([4.0])
    tensors["normalizer.count"] = torch.tensor([9])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    words_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def score_head_folder(tmp_path: Path) -> Callable[..., str]:
    """``score_head_folder("cost", do_normalize=True)``."""

    def make(score_type: str, weight: float = 1.0, **config: Any) -> str:
        folder = tmp_path / f"{score_type}-{len(list(tmp_path.iterdir()))}"
        return hand_set_score_head(folder, score_type, weight, **config)

    return make
