"""States of a language model, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from csrlhf.data.chat_format import format_of
from csrlhf.data.encoding import encode_prompt
from csrlhf.refusals.states import Backbone
from tests.styles import styled_folder


def test_a_language_model_is_read_in_its_template_over_the_answer(tmp_path: Path) -> None:
    backbone = Backbone(styled_folder("chatml", tmp_path / "model"))
    found = backbone.states(["Hi", "Hello there"], ["Yo", "No, I will not."])
    assert backbone.directions == 128
    head = encode_prompt(backbone.tokenizer, "Hi", 100)
    assert "Be kind." not in backbone.tokenizer.decode(head)  # no system prompt of the template's
    ids = torch.tensor([head + format_of(backbone.tokenizer).text_ids("Yo")])
    with torch.no_grad():
        hidden = backbone.trunk(input_ids=ids, output_hidden_states=True).hidden_states[backbone.layer][0]
    np.testing.assert_allclose(found[0], hidden[len(head) - 1 :].mean(0).numpy(), atol=1e-5)  # padded beside it
