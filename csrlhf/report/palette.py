"""Colours of figures, on light and on dark ground; the page's are in ``assets/page.css``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Palette:
    """Colours of one style.

    Attributes:
        ground: behind the figure.
        ink: text and axes.
        muted: what is less important: reference lines, labels of ticks.
        grid: lines of the grid.
        good: what is safe, or an aim reached.
        warn: what is undecided.
        bad: what is unsafe.
        series: one colour a curve; distinguishable with the common colour-vision deficiencies;
            red comes late, so that two or three curves are not taken for good and bad ones.
    """

    ground: str
    ink: str
    muted: str
    grid: str
    good: str
    warn: str
    bad: str
    series: tuple[str, ...]


LIGHT = Palette(
    ground="#ffffff",
    ink="#1c2127",
    muted="#59636e",
    grid="#e3e6ea",
    good="#2c7a4b",
    warn="#8f5f00",
    bad="#b3283e",
    series=("#0b6e99", "#b87a10", "#3f8f5b", "#8c5fa8", "#d1495b", "#5c6670"),
)
DARK = Palette(
    ground="#14171a",
    ink="#e4e7eb",
    muted="#9aa4af",
    grid="#2c3238",
    good="#6cc08b",
    warn="#e0ad4f",
    bad="#f28b99",
    series=("#5db4dd", "#e3b04b", "#7cc796", "#c39bdc", "#f28b99", "#a3adb8"),
)
