"""``stage=certify``: a statistical certificate of a policy's violation rate (docs/how-to/certify.md).

It declares no rows: its prompts are compared with all that took part in making the policy, by a check of its own
(``leak_check.known_to``), and with what its family was seen on since (``seen_prompts.looks_at``).
"""

from __future__ import annotations

from csrlhf.runs.stages.base import COST, PPO, REWARD, Stage, run_of

STAGE = Stage(
    inputs=(REWARD, COST, PPO),
    paths={"certify.judge": COST.sources, "certify.reward": REWARD.sources},
    scorers=("certify.judge", "certify.reward"),
    files=("chat_template", "prompts", "labels", "outputs", "chosen_on", "lambda_from"),
    consumes=("data", "constraints", "rollout", "certify", "ppo.max_prompt_tokens", "model.chat", "seed"),
    steps=("test",),
    run_name=lambda cfg, choices, inputs, digest: run_of(inputs),
    artifact="certificate",
)
