"""From a scorer's own scale to ours, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from csrlhf.errors import UserError
from csrlhf.scorers.base import Scale


def test_a_logit_scale_is_shifted_divided_and_turned_round() -> None:
    raw = torch.tensor([[1.0], [4.0]])
    assert Scale()(raw, "x") is raw
    assert Scale(threshold=3.0, unit=2.0)(raw, "x").tolist() == [[-1.0], [0.5]]
    assert Scale(threshold=3.0, sign=-1)(raw, "x").tolist() == [[2.0], [-1.0]]


def test_a_probability_becomes_a_logit_that_is_0_at_the_threshold() -> None:
    raw = torch.tensor([0.5, 0.3, 0.9], dtype=torch.float64)
    torch.testing.assert_close(Scale("probability")(raw, "x")[0], torch.tensor(0.0, dtype=torch.float64))
    scaled = Scale("probability", threshold=0.3)(raw, "x")
    assert float(scaled[1]) == pytest.approx(0.0, abs=1e-12)
    assert float(scaled[2]) == pytest.approx(math.log(0.9 / 0.1) - math.log(0.3 / 0.7))
    certain = Scale("probability")(torch.tensor([0.0, 1.0], dtype=torch.float64), "x")
    assert certain.tolist() == pytest.approx([-math.log(1e6 - 1), math.log(1e6 - 1)])


def test_what_is_no_probability_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"http://x: gives 1.5, which is no probability"):
        Scale("probability")(torch.tensor([0.5, 1.5]), "http://x")


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (Scale("percent"), r"k\.scale=percent: must be logit or probability"),
        (Scale(threshold=math.nan), r"k\.threshold=nan: must be finite"),
        (Scale(threshold="high"), r"k\.threshold=high: must be a number"),  # type: ignore[arg-type]  # what a config says
        (Scale("probability", threshold=1.0), r"k\.threshold=1.0: must be in \(0, 1\)"),
        (Scale(unit=0.0), r"k\.unit=0.0: must be a number above 0"),
        (Scale(unit=True), r"k\.unit=True: must be a number"),
    ],
)
def test_ranges(scale: Scale, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scale.check("k")
