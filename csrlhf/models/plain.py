"""Score models as transformers' own sequence classifiers, where one of those computes the same.

That is so for causal models read at their last token by a head without a bias. Encoders' classifiers put a layer of
their own between backbone and head, and none takes a mean over tokens.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, PreTrainedModel


def plain_classifier(
    backbone: PreTrainedModel, head: nn.Linear, temperature_K: Tensor, outputs: Sequence[str], pooling: str
) -> tuple[PreTrainedModel | None, str | None]:
    """The classifier of transformers that gives the same logits.

    Args:
        backbone: of the score model; shared with the result.
        head: ``[K, H]``.
        temperature_K: the result's head is divided by it.
        outputs: K names, which become labels.
        pooling: of the score model.

    Returns:
        The classifier and None, or None and the reason.
    """
    if pooling != "last":
        return None, f"it reads its backbone with pooling {pooling}, and no classifier of transformers does"
    if type(backbone.config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None, f"transformers has no sequence classifier for {backbone.config.model_type}"
    config = copy.deepcopy(backbone.config)
    config.num_labels = len(outputs)
    config.id2label = dict(enumerate(outputs))
    config.label2id = {name: k for k, name in enumerate(outputs)}
    kind: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    with torch.device("meta"):
        classifier = kind._from_config(config)
    score = getattr(classifier, "score", None)
    trunk = getattr(classifier, classifier.base_model_prefix, None)
    if not isinstance(score, nn.Linear) or type(trunk) is not type(backbone):
        return None, f"{kind.__name__} has a layer of its own between backbone and head"
    if score.bias is not None or head.bias is not None:
        return None, f"its head has a bias, that of {kind.__name__} has none; model.score.head_bias=false trains one"
    setattr(classifier, classifier.base_model_prefix, backbone)
    score.weight = nn.Parameter((head.weight / temperature_K.unsqueeze(1)).detach().to(backbone.dtype))
    return classifier, None


def readme(config: Mapping[str, Any]) -> str:
    """The README of a score model's folder.

    Args:
        config: the content of ``score_head.json``.
    """
    lines = [
        "# A score model of csrlhf",
        "",
        f"One logit each for: {', '.join(config['outputs'])}. Longest dialogue: {config['max_tokens']} tokens.",
        "",
        "```python",
        "from csrlhf.models.text_scorer import TextScorer",
        'scorer = TextScorer("FOLDER")',
        'scorer.score(["a prompt"], ["its response"], [True])  # [1, outputs]; True: the response is complete',
        "```",
        "",
    ]
    if config["classifier"]:
        lines += [
            "It is a plain classifier of transformers as well, with the same logits. It reads the prompt in the",
            "tokenizer's chat template, then the response, then the token that ends a turn in the template, else the",
            "end token. Where that token pads as well, give it one dialogue at a time.",
            "",
            "```python",
            "from transformers import AutoModelForSequenceClassification",
            'model = AutoModelForSequenceClassification.from_pretrained("FOLDER")',
            "```",
        ]
    else:
        lines += [
            f"It is not a plain classifier of transformers: {config['no_classifier_because']}.",
            "AutoModelForSequenceClassification would draw a head at random.",
        ]
    return "\n".join(lines) + "\n"
