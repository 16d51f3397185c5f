"""The figures and numbers of README and docs, from runs on several seeds: ``make docs-figures``.

For each seed the bars of the toy world (benchmarks/toy.py: the whole pipeline, and PPO without a constraint) and a
certificate. A finished stage is not run again, so a stopped run goes on where it was. What was measured is kept in
``figures.json`` with the kind of machine; ``--from FILE`` writes the pages from it and runs nothing.

A block stands between ``<!-- figures: NAME -->`` and ``<!-- /figures: NAME -->`` in README.md or a page below docs/.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import csrlhf
from benchmarks import toy
from csrlhf.runs.artifacts import write_json
from csrlhf.tracking.history import read_history

ROOT = Path(__file__).resolve().parent.parent
IMAGE = Path("docs/images/demo_curves.png")

ROWS = {
    "unsafe answers to harmful prompts": toy.SEEN,
    "the same, asked in ways that training never used": toy.HELD_OUT,
    "help on benign prompts": toy.BENIGN,
    "help on prompts that only sound harmful": toy.KEYWORD,
    "refusals of harmless prompts": toy.OVER,
}
"""The results of README's first screen, by the toy world's oracle on held-out test prompts."""

CURVES = {
    "Reward": "train/reward",
    "Cost: share of unsafe answers": "constraint/harm/cost",
    "λ behind the gate": "penalty/weight",
}
"""The panels of README's figure."""

WINDOW = 5
THRESHOLD = "constraint/harm/threshold"
COLORS = ("#0b6e99", "#d1495b", "#3f8f5b", "#8c5fa8", "#c98a1b")

Seeds = Mapping[str, Mapping[str, Any]]
"""By seed what ``measure`` returns: ``columns`` (benchmarks/toy.py), ``curves``, ``verdict``, ``machine`` ..."""


def main() -> int:
    """Run what is missing and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--out", type=Path, default=Path("artifacts/docs_figures"), help="where the runs are kept")
    parser.add_argument("--from", dest="kept", type=Path, help="a figures.json: write the pages from it, run nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout whose pages are written")
    parser.add_argument("overrides", nargs="*", help="further overrides, for every run")
    options = parser.parse_args()
    if options.kept is None:
        seeds = {
            str(seed): measure(seed, options.out / f"seed{seed}", options.overrides) for seed in range(options.seeds)
        }
        write_json(options.out / "figures.json", seeds)
    else:
        seeds = json.loads(options.kept.read_text(encoding="utf-8"))
    draw(seeds, options.root / IMAGE)
    for page in write(options.root, {name: block(seeds) for name, block in BLOCKS.items()}):
        print(page.relative_to(options.root))
    return 0


def measure(seed: int, folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """One seed's figures; a result that stands keeps the machine on which it was made."""
    kept = folder / "measured.json"
    columns = toy.run_seed(seed, folder, list(overrides))
    made = {name: _record(folder / "ppo" / name)["created"] for name in ("default", "none")}
    if kept.is_file() and (before := json.loads(kept.read_text(encoding="utf-8")))["made"] == made:
        return before
    certified = csrlhf.train(
        [*overrides, "certify.labels=oracle", "certify.num_labels=300"],
        stage="certify",
        seed=seed,
        artifacts=folder,
        name="default",
        inputs={"ppo": folder / "ppo" / "default"},
        logger="none",
    )
    assert certified.folder is not None
    measured = {
        "made": made,
        "machine": machine(),
        "commit": _record(folder / "ppo" / "default")["git_commit"],
        "verdict": json.loads((certified.folder / "certificate.json").read_text(encoding="utf-8"))["verdict"],
        "columns": columns,
        "curves": _curves(folder / "ppo" / "default" / "history.csv"),
    }
    write_json(kept, measured)
    return measured


def machine() -> str:
    """The kind of machine: numbers differ in their last digits between them, and so do the runs that hang on these."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file() and (
        found := re.search(r"^model name\s*:\s*(.+)$", info.read_text(encoding="utf-8"), re.MULTILINE)
    ):
        model = found.group(1)
    threads = torch.get_num_threads()
    return f"{' '.join(model.split())}, {threads} thread{'s' * (threads > 1)}, torch {torch.__version__}"


def results(seeds: Seeds) -> str:
    """README's table: the range of each measure over the seeds, before and after training."""
    lines = ["| by the oracle, on held-out test prompts | SFT | CS-RLHF |", "|---|---:|---:|"]
    for words, key in ROWS.items():
        before = [one["columns"]["default"][f"eval/sft/{key}"] for one in seeds.values()]
        after = [one["columns"]["default"][f"eval/{key}"] for one in seeds.values()]
        lines.append(f"| {words} | {_range(before)} | {_range(after)} |")
    counts = Counter(one["verdict"] for one in seeds.values())
    verdicts = ", ".join(f"{verdict} on {count} of {len(seeds)}" for verdict, count in counts.most_common())
    return "\n".join(
        [*lines, "", f"Certificates at a threshold of {_threshold(seeds):.0%}: {verdicts}. {_source(seeds)}"]
    )


def bars(seeds: Seeds) -> str:
    """The table of docs/explanation/toy_world.md: each bar and the figures of each seed."""
    lines = [f"| measure | bar | {' | '.join(f'seed {seed}' for seed in seeds)} |", "|---|---|" + "---:|" * len(seeds)]
    names = {"SFT": "SFT: ", "none": "`penalty=none`: ", "default": "selected policy: "}
    for bar in toy.BARS:
        values = [one["columns"][bar.column][bar.metric] for one in seeds.values()]
        cells = [f"{value:.3f}" if bar.holds(value) else f"{value:.3f} (missed)" for value in values]
        lines.append(f"| {names.get(bar.column, '')}{bar.words} | {bar.allowed()} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _source(seeds)])


BLOCKS: dict[str, Callable[[Seeds], str]] = {"results": results, "bars": bars}


def write(root: Path, blocks: Mapping[str, str]) -> list[Path]:
    """Put each block between its markers.

    Returns:
        The pages that have any.

    Raises:
        ValueError: a page has markers of a block that there is not.
    """
    written = []
    for page in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        names = re.findall(r"<!-- figures: (\w+) -->", text)
        for name in names:
            if name not in blocks:
                raise ValueError(f"{page}: there is no block {name}; there are {', '.join(blocks)}")
            between = rf"(<!-- figures: {name} -->\n).*?(<!-- /figures: {name} -->)"
            text = re.sub(
                between, lambda found, name=name: f"{found[1]}{blocks[name]}\n{found[2]}", text, flags=re.DOTALL
            )
        if names:
            page.write_text(text, encoding="utf-8")
            written.append(page)
    return written


def draw(seeds: Seeds, path: Path) -> None:
    """README's figure: reward, cost and λ over training, a line per seed."""
    figure = Figure(figsize=(10.5, 2.9), layout="constrained")
    for axis, (title, key) in zip(figure.subplots(1, len(CURVES)), CURVES.items(), strict=True):
        for color, (seed, one) in zip(COLORS * len(seeds), seeds.items(), strict=False):
            values = _smooth(one["curves"][key])
            axis.plot(range(len(values)), values, color=color, linewidth=1.1, label=f"seed {seed}")
        if key.endswith("/cost"):
            axis.axhline(_threshold(seeds), color="#444444", linestyle="--", linewidth=1.0, label="threshold")
            axis.legend(fontsize=7, frameon=False)
        axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
        axis.set_xlabel(f"PPO iteration (means of {WINDOW})", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25, linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _smooth(values: Sequence[float]) -> list[float]:
    """Means of the last values up to each: a gate that opens and closes is no line that one can read."""
    parts = [values[max(0, end - WINDOW) : end] for end in range(1, len(values) + 1)]
    return [sum(part) / len(part) for part in parts]


def _range(shares: Sequence[float]) -> str:
    """``0.3 to 1.9 %``; one figure where the seeds agree."""
    low, high = f"{100 * min(shares):.1f}", f"{100 * max(shares):.1f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _source(seeds: Seeds) -> str:
    """Where numbers come from: command, seeds, machine, commit."""
    commits = sorted({str(one["commit"])[:7] for one in seeds.values()})
    numbers = f"seed {next(iter(seeds))}" if len(seeds) == 1 else f"seeds {', '.join(seeds)}"
    return f"`make docs-figures`: {numbers}; {_machines(seeds)}; commit {', '.join(commits)}."


def _machines(seeds: Seeds) -> str:
    return "; ".join(sorted({one["machine"] for one in seeds.values()}))


def _threshold(seeds: Seeds) -> float:
    return next(iter(seeds.values()))["curves"][THRESHOLD][-1]


def _curves(history: Path) -> dict[str, list[float]]:
    rows = read_history(history)
    return {key: [row[key] for row in rows if key in row] for key in (*CURVES.values(), THRESHOLD)}


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "csrlhf.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
