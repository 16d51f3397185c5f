"""``python -m csrlhf.memory``: every stage's lines from a configuration file alone, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoConfig

from csrlhf.apps import memory

SIZES = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4}
COUNT = 100 * 64 + 2 * (4 * 64 * 64 + 3 * 64 * 192 + 2 * 64) + 64
"""Weights of the model below: tied table of tokens, layers, final norm."""


@pytest.fixture
def model(tmp_path: Path) -> str:
    AutoConfig.for_model("llama", vocab_size=100, tie_word_embeddings=True, **SIZES).save_pretrained(tmp_path)
    return f"model.policy.path={tmp_path}"  # a configuration and nothing else


def test_models_of_every_stage(model: str) -> None:
    rows = {(row.stage, row.what): row for row in memory.rows_of(["model=pretrained", model])}
    policy = rows["sft", "policy"]
    assert (policy.weights, policy.gradients, policy.states) == (4 * COUNT, 4 * COUNT, 8 * COUNT)
    assert rows["reward", "reward model"].weights == 4 * (COUNT + 65)
    assert rows["ppo", "critic of reward and 1 cost"].weights == 4 * (COUNT + 2 * 65)
    assert rows["ppo", "critic of reward and 1 cost"].states == 8 * COUNT
    for frozen in ("reference", "reward model", "cost model"):
        row = rows["ppo", frozen]
        assert row.weights >= 4 * COUNT
        assert row.gradients == row.states == 0
    assert rows["sft", "a step: 16 x 512 tokens"].passing > 0
    assert rows["reward", "a step: 16 x 512 tokens"].passing == rows["cost", "a step: 16 x 512 tokens"].passing


def test_the_most_at_once_is_all_models_and_the_larger_of_what_passes() -> None:
    rows = [
        memory.Row("ppo", "policy", 10, 20, 30),
        memory.Row("ppo", "reference", 10),
        memory.Row("ppo", "rollout", passing=7),
        memory.Row("ppo", "a step", passing=5),
        memory.Row("sft", "policy", 1000),
    ]
    assert memory.peak(rows, "ppo") == 77


def test_settings_reach_the_numbers(model: str) -> None:
    def ppo(*words: str) -> dict[str, memory.Row]:
        return {row.what: row for row in memory.rows_of(["model=pretrained", model, *words]) if row.stage == "ppo"}

    plain = ppo()
    assert ppo("trainer.precision=bf16-true")["policy"].weights == 2 * COUNT
    assert ppo("optimizer=adamw_8bit")["policy"].states < plain["policy"].states / 2
    adapters = ppo("model.policy.tuning.method=lora")
    assert adapters["policy"].gradients < plain["policy"].gradients / 2
    assert "reference" in plain
    assert "reference" not in adapters  # the policy without them
    assert ppo("model.critic.tuning.method=last_n", "model.critic.tuning.layers=1")["policy"] == plain["policy"]
    assert set(plain) - set(ppo("advantage=rloo", "ppo.samples_per_prompt=4")) == {"critic of reward and 1 cost"}
    mixed, rollout = ppo("trainer.precision=bf16-mixed"), "rollout: 128 x 512 tokens"
    cache = 128 * 512 * 2 * 2 * 64 * 2  # tokens x layers x (keys, values) x width x bytes
    assert mixed[rollout].passing == 2 * COUNT + cache
    assert plain[rollout].passing == 2 * cache
    assert "rollout: 8 x 512 tokens" in ppo("ppo.batch_size=8")
    assert "critic of reward and 2 costs" in ppo("constraint=harm_privacy")
    split = ppo("trainer=ddp", "trainer.devices=2", "ppo.accumulate=3")
    assert {"rollout: 64 x 512 tokens", "a step: 3 x 512 tokens"} <= set(split)  # 16 rows in 6 parts: 3 at most


def test_the_table_and_its_mistakes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert memory.main(["model=pretrained", model]) == 0
    out = capsys.readouterr().out
    assert out.count("most at once") == 4
    assert max(map(len, out.splitlines())) <= 90
    for words, message in (
        (["stage=sft"], "all stages are shown"),
        (["model=pretrained", "model.policy.path=/no/such/folder"], "there is no model folder"),
        (["trainer.precision=16-mixed"], "trainer.precision=16-mixed"),
        (["ppo.batchsize=3"], "no such key"),
    ):
        assert memory.main(words) == 1
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_the_figures_in_the_docs_are_the_program_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of Qwen2.5-0.5B, whose configuration in numbers is this one."""
    AutoConfig.for_model(
        "qwen2", vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24,
        num_attention_heads=14, num_key_value_heads=2, tie_word_embeddings=True,
    ).save_pretrained(tmp_path)  # fmt: skip
    monkeypatch.setenv("COLUMNS", "100")  # a terminal in which no cell is broken into two lines
    assert memory.main(["model=pretrained", f"model.policy.path={tmp_path}", "trainer=gpu"]) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    page = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "your_model.md").read_text(encoding="utf-8")
    shown = page.split("```\nMemory per device")[1].split("```")[0].splitlines()[1:]
    assert len(shown) > 20
    assert [line for line in shown if line not in printed] == []


def test_scorers_of_others_are_counted_by_their_own_configuration(model: str, tmp_path: Path) -> None:
    def ppo(*words: str) -> dict[str, memory.Row]:
        return {row.what: row for row in memory.rows_of(["model=pretrained", model, *words]) if row.stage == "ppo"}

    guard = tmp_path / "guard"
    config = AutoConfig.for_model("llama", vocab_size=100, architectures=["LlamaForCausalLM"], **SIZES)
    config.save_pretrained(guard)
    rows = ppo(f"inputs.cost={{scorer: guard, model: {guard}, style: llama_guard}}", "inputs.reward=http://there/score")
    assert rows[f"cost model {guard}"].weights == 4 * (COUNT + 100 * 64)  # its language head is not tied
    assert not [what for what in rows if what.startswith("reward model") or what == "cost model"]
