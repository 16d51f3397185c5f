"""Which prompts a classifier of transformers puts a label on: a constraint's ``where`` without a column.

constraints.harm.where={_target_: csrlhf.models.prompt_classifier.PromptClassifier, folder: FOLDER, label: harmful}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csrlhf.data.encoding import prompt_text
from csrlhf.models.loading import load_config
from csrlhf.scorers.classifier import ClassifierScorer
from csrlhf.types import PromptRow


class PromptClassifier:
    """Selects prompts whose log-odds for a label are above a limit; the model reads the prompt's text alone.

    Loaded when it is first asked, on the CPU, and asked once about each text.
    """

    def __init__(self, folder: str | Path, label: str, above: float = 0.0, batch_size: int = 32) -> None:
        """Describe it.

        Args:
            folder: a folder, or a name on the Hub, of a sequence classifier.
            label: the one that selects; the only label of a model may be given any name.
            above: the limit, in logits: 0 is where the label is as likely as not.
            batch_size: prompts per forward pass.
        """
        self.folder, self.label, self.above, self.batch_size = folder, label, float(above), int(batch_size)
        self._scorer: ClassifierScorer | None = None
        self._known: dict[str, bool] = {}

    def __call__(self, rows: Sequence[PromptRow]) -> list[bool]:
        """Whether each prompt has the label."""
        texts = [prompt_text(row.prompt) for row in rows]
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        if fresh:
            if (scorer := self._scorer) is None:
                options: dict[str, Any] = {"input": "prompt", "batch_size": self.batch_size}
                if (load_config(self.folder).num_labels or 2) > 1:  # the very label, or an error that lists them
                    options["label"] = self.label
                scorer = self._scorer = ClassifierScorer(self.folder, (self.label,), **options)
            scores = scorer.score(fresh, [""] * len(fresh), [True] * len(fresh))[:, 0].tolist()
            self._known |= {text: score > self.above for text, score in zip(fresh, scores, strict=True)}
        return [self._known[text] for text in texts]
