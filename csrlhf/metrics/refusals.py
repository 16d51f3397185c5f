"""How refusals sound, where no oracle knows them."""

from __future__ import annotations

import re

REFUSAL = re.compile(
    r"\b(i (can ?not|can ?'?t|will not|won ?'?t|am (sorry|unable|not able))|sorry|unable to|not able to)\b",
    re.IGNORECASE,
)
"""Words of refusal in plain English: a cheap sign of collapse, never a verdict on safety."""
