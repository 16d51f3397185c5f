from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from csrlhf.report import Figure, Report, Section, Text
from csrlhf.report.figures import Palette


def test_the_same_input_gives_the_same_bytes(full_report: Report, tmp_path: Path) -> None:
    first = full_report.write(tmp_path / "a" / "report.html").read_bytes()
    for figure in full_report._figures():
        del vars(figure)["_images"]  # drawn once more
    assert full_report.write(tmp_path / "b" / "report.html").read_bytes() == first


def test_another_process_writes_the_same_bytes() -> None:
    program = (
        "import hashlib; from csrlhf.report import *; r = Report('a')\n"
        "r.add(Figure('f', lambda axes, palette: axes.fill_between([0, 1], [0, 1], hatch='/'), 'alt'))\n"
        "print(hashlib.sha256(r.html().encode()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_a_standing_report_survives_a_failing_draw(tmp_path: Path) -> None:
    def fails(axes: Any, palette: Any) -> None:
        raise ZeroDivisionError("no data")

    path = tmp_path / "report.html"
    path.write_text("the earlier one", encoding="utf-8")
    report = Report("Broken")
    report.add(Figure("broken", fails, "nothing"))
    with pytest.raises(ZeroDivisionError) as raised:
        report.write(path)
    assert raised.value.__notes__ == ["while drawing the figure 'broken'"]
    assert path.read_text(encoding="utf-8") == "the earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_standing_report_survives_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("the earlier one", encoding="utf-8")
    write = Path.write_bytes

    def half(self: Path, content: bytes) -> int:
        write(self, content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space left"):
        Report("Whole").write(path)
    assert path.read_text(encoding="utf-8") == "the earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_figures_are_light_pictures_by_name(full_report: Report, tmp_path: Path) -> None:
    from matplotlib.colors import to_hex

    figures = full_report.figures()
    assert list(figures) == ["bars", "again"]
    [axes] = figures["bars"].axes
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == ["#0b6e99", "#0b6e99"]
    assert to_hex(figures["bars"].get_facecolor()) == "#ffffff"
    written = full_report.save_figures(tmp_path / "plots")
    assert written == [tmp_path / "plots" / "bars.png", tmp_path / "plots" / "again.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_drawing_leaves_no_trace_in_matplotlib(full_report: Report) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    full_report.html()
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_two_figures_of_one_name_are_refused() -> None:
    report = Report("Twice")
    figure = Figure("same", lambda axes, palette: None, "nothing")
    report.add(Section("First", [figure]))
    with pytest.raises(ValueError, match="report 'Twice': two figures are named 'same'"):
        report.add(Section("Second", [Section("Inner", [figure])]))
    assert len(report.blocks) == 1


@pytest.mark.parametrize("make", [lambda: Report("a").add("words"), lambda: Section("a", [Text("b"), "words"])])  # type: ignore[arg-type, list-item]
def test_what_is_no_block_is_refused(make: Callable[[], None]) -> None:
    with pytest.raises(TypeError, match=r"'words' is not a block of a report \(Text, Cards, "):
        make()


def test_the_dark_figure_is_the_light_one_in_other_colours() -> None:
    def draw(axes: Any, palette: Palette) -> None:
        axes.plot([1, 2], [0.00001, 0.00002], color=palette.bad)
        axes.set_ylabel("a label that takes room")
        axes.twinx().set_ylabel("another", color=palette.good)

    figure = Figure("both", draw, "two axes")
    assert figure.light != figure.dark
    light, dark = (b64decode(image.partition(",")[2]).decode() for image in (figure.light, figure.dark))
    lines = r' d="([^"]*)"|translate\(([^)]*)\)'
    assert sorted(re.findall(lines, light)) == sorted(re.findall(lines, dark))
