"""The colours: readable for everyone (WCAG's AA), and figures fit the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import csrlhf.report
from csrlhf.report import DARK, LIGHT, Palette

CSS = (Path(csrlhf.report.__file__).parent / "assets" / "page.css").read_text(encoding="utf-8")
BLOCKS = [
    dict(re.findall(r"--(\w+): (#\w{6}|[\d, ]+);", block)) for block in re.findall(r"\{[^{}]*--ground:[^{}]*\}", CSS)
]
COLORS = {name: {"light": BLOCKS[0][name], "dark": BLOCKS[1][name]} for name in BLOCKS[0]}


def luminance(color: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def mix(color: str, ground: str, share: float) -> str:
    pairs = [(int(color[at : at + 2], 16), int(ground[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def test_dark_is_the_same_by_the_button_and_by_the_system() -> None:
    light, *dark = BLOCKS
    assert len(light) == 10
    assert len(dark) == 2
    assert dark[0] == dark[1]
    assert dark[0].keys() == light.keys()


@pytest.mark.parametrize("style", ["light", "dark"])
def test_the_shade_is_the_accent(style: str) -> None:
    parts = [int(part) for part in COLORS["shade"][style].split(",")]
    assert "#" + "".join(f"{part:02x}" for part in parts) == COLORS["accent"][style]


def test_colours_need_no_function_that_is_younger_than_many_a_browser() -> None:
    assert not re.search(r":\s*[^;]*(light-dark|color-mix|oklch)\(|:has\(", CSS)


def test_contrast_by_hand() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("style", ["light", "dark"])
@pytest.mark.parametrize("ground", ["ground", "raised"])
@pytest.mark.parametrize("word", ["ink", "muted", "accent", "good", "warn", "bad"])
def test_words_are_readable(style: str, ground: str, word: str) -> None:
    assert contrast(COLORS[word][style], COLORS[ground][style]) >= 4.5


@pytest.mark.parametrize("style", ["light", "dark"])
def test_numbers_are_readable_on_every_shade(style: str) -> None:
    shades = re.findall(r"\.shade-(\d+) \{ background: rgba\(var\(--shade\), (0\.\d+)\)", CSS)
    assert [int(step) for step, _ in shades] == list(range(1, 11))
    for _, share in shades:
        ground = mix(COLORS["accent"][style], COLORS["ground"][style], float(share))
        assert contrast(COLORS["ink"][style], ground) >= 4.5


@pytest.mark.parametrize(("style", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_figures_have_the_colours_of_the_page(style: str, palette: Palette) -> None:
    for name in ("ground", "ink", "muted", "good", "warn", "bad"):
        assert getattr(palette, name) == COLORS[name][style]
    assert palette.series[0] == COLORS["accent"][style]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_curves_can_be_seen(palette: Palette) -> None:
    assert len(set(palette.series)) == len(palette.series) >= 6
    assert all(contrast(color, palette.ground) >= 3.0 for color in palette.series)
    assert all(contrast(getattr(palette, word), palette.ground) >= 4.5 for word in ("ink", "muted"))
