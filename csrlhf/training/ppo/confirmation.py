"""The look that decides: shortlisted policies respond to prompts that no evaluation has used.

What is tested in which order, and what follows, is in :mod:`csrlhf.training.ppo.selection`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from csrlhf.constraints.set import Constraints
from csrlhf.constraints.where import select
from csrlhf.errors import InputWarning, UserError, writing
from csrlhf.stats.estimates import in_percent
from csrlhf.training.ppo.selection import Candidate, check_defined, check_reachable, excess_of
from csrlhf.training.ppo.validation import CONFIRMATION_NOISE, ValidationMeter, ValidationResult
from csrlhf.training.ranks import gather_lists

if TYPE_CHECKING:
    from csrlhf.training.ppo.policy import PolicyModule


class Shortlisted:
    """The trained weights of shortlisted policies, a file each: ``shortlist/<iteration>.pt`` in the run's folder."""

    def __init__(self, work: Path, policy: nn.Module) -> None:
        """Build the store.

        Args:
            work: the run's folder, the same on every process.
            policy: whose weights are written and put back.
        """
        self.folder, self.policy = work / "shortlist", policy

    def path(self, iteration: int) -> Path:
        """The file of one policy."""
        return self.folder / f"{iteration}.pt"

    def missing(self, iterations: Collection[int]) -> set[int]:
        """Those that a resumed run does not find any more, with a warning."""
        gone = {iteration for iteration in iterations if not self.path(iteration).is_file()}
        if gone:
            warnings.warn(
                f"{self.folder}: holds no policy of iteration {', '.join(map(str, sorted(gone)))}, which the "
                "checkpoint had on its shortlist; it cannot be selected",
                InputWarning,
                stacklevel=2,
            )
        return gone

    def keep(self, iteration: int, kept: Collection[int], before: Collection[int]) -> None:
        """Write the policy as it stands, if it is to be kept, and remove those that are not needed.

        Args:
            iteration: of the policy as it stands.
            kept: iterations on the shortlist now.
            before: those before this evaluation: the newest checkpoint may still name them, and a run that is stopped
                now goes on from there.
        """
        for file in self.folder.glob("*.pt"):
            if int(file.stem) not in {*kept, *before}:
                file.unlink()
        if iteration in kept:
            self.folder.mkdir(parents=True, exist_ok=True)
            path, draft = self.path(iteration), self.folder / f"{iteration}.draft"
            with writing(path, draft):
                torch.save(self._trained(), draft)
                draft.replace(path)

    def put(self, iteration: int) -> None:
        """Make the policy that of an iteration."""
        self._load(torch.load(self.path(iteration), map_location="cpu", weights_only=True))

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Puts the policy's weights back in the end as they were."""
        last = self._trained()
        try:
            yield
        finally:
            self._load(last)

    def _trained(self) -> dict[str, Tensor]:
        named = self.policy.named_parameters()
        return {name: weight.detach().to("cpu", copy=True) for name, weight in named if weight.requires_grad}

    @torch.no_grad()
    def _load(self, weights: dict[str, Tensor]) -> None:
        for name, weight in self.policy.named_parameters():
            if weight.requires_grad:
                weight.copy_(weights[name])


def plan(module: PolicyModule, data: Any) -> None:
    """Tell the selection what the run has in mind; refuse a run that could find no policy feasible.

    Args:
        module: before its models are loaded.
        data: its DataModule, whose rows are read.
    """
    data.stratify(module.constraints.kinds)
    check_batches(module.constraints, data)
    trainer: Any = module.trainer  # which knows overfit_batches, though its class does not say so
    # Of an evaluation that is cut to some batches (debug=fast) nothing is claimed.
    is_whole = isinstance(trainer.limit_val_batches, float) and trainer.limit_val_batches == 1
    judged = is_whole and not trainer.overfit_batches
    num_looks, further = 1 + max(trainer.max_epochs or 1, 1), len(data.rows["confirmation"]) if judged else 0
    selection, constraints = module.selection, module.constraints
    selection.begin(num_looks, further, module.penalty.constrains)
    if not (judged and selection.constrained):
        return
    if further:
        check_defined(constraints, data.rows["validation"])
        check_reachable(constraints, selection.level, data.rows["confirmation"], "ppo.num_confirmation")
    else:
        check_reachable(constraints, selection.level, data.rows["validation"], looks=num_looks)


def check_batches(constraints: Constraints, data: Any) -> None:
    """Raise a UserError where a batch holds fewer responses to the prompts of a constraint than its statistic needs.

    Args:
        constraints: of the run.
        data: the DataModule, stratified.
    """
    for name, where in constraints.kinds.items():
        share = sum(select(name, where, data.rows["train"])) / len(data.rows["train"])
        prompts = max(math.floor(share * data.batch_size / data.samples_per_prompt) - 1, data.min_stratum)
        found, needed = prompts * data.samples_per_prompt, constraints.least_counts[name]
        if needed > 1 and found < needed:
            raise UserError(
                f"constraints.{name}.where: a batch may hold {max(found, 0)} responses to such prompts, and the "
                f"statistic needs {needed}; set ppo.min_stratum={-(-needed // data.samples_per_prompt)}, or raise "
                "ppo.batch_size"
            )


def settle(module: PolicyModule) -> dict[str, float]:
    """Decide which policy is handed over, write it, and say so.

    Args:
        module: after training, on every process.

    Returns:
        What the confirmation found of the selected policy, keyed as in docs/reference/metrics.md; nothing without one.
    """
    selection, trainer = module.selection, module.trainer
    if not selection.kept:
        return {}
    trainer.strategy.barrier("shortlist")  # the first process has written what all will read
    excesses: list[float] = []
    results: list[ValidationResult] = []
    with module.shortlisted.borrowed():
        for candidate in selection.in_order() if selection.num_confirmation else ():
            module.shortlisted.put(candidate.iteration)
            results.append(examine_all(module))
            excesses.append(excess_of(results[-1], selection.level))
            if excesses[-1] > 0:
                break
        chosen = selection.settle(excesses)
        assert chosen is not None  # the shortlist is not empty
        module.shortlisted.put(chosen.iteration)
        module.save(selection.folder(Path(trainer.default_root_dir)))
    if trainer.is_global_zero:
        print(sentence(chosen, selection.settings.confidence, selection.constrained), flush=True)
    if not results:
        return {}
    result = results[[candidate.iteration for candidate in selection.in_order()].index(chosen.iteration)]
    costs = zip(result.names, result.value_K, result.stderr_K, strict=True)
    figures = {"selection/confirmed/reward": result.reward}
    for name, value, stderr in costs:
        figures |= {f"selection/confirmed/{name}/cost": value, f"selection/confirmed/{name}/stderr": stderr}
    return figures


@torch.no_grad()
def examine_all(module: PolicyModule) -> ValidationResult:
    """The policy as it stands, on the prompts that were set aside."""
    trainer, meter = module.trainer, ValidationMeter(module.constraints, module.refusals)
    loader = trainer.datamodule.confirmation_dataloader()  # type: ignore[attr-defined]  # Lightning attaches it
    for batch in loader:
        prompts = trainer.strategy.batch_to_device(batch, module.device)
        with trainer.precision_plugin.val_step_context():
            module.examine(prompts, CONFIRMATION_NOISE, meter)
    return meter.result(partial(gather_lists, module))


def sentence(chosen: Candidate, confidence: float, constrained: bool) -> str:
    """Which policy is handed over and what is known of it, as one line."""
    which = "the start policy" if chosen.iteration == 0 else f"the policy of iteration {chosen.iteration}"
    if not constrained:
        return f"ppo: selected {which}, by its reward alone"
    if chosen.feasible:
        sure = f"with {in_percent(confidence)} % confidence it keeps every threshold"
        return f"ppo: selected {which}: {sure}, by the cost model"
    return (
        f"ppo: selected {which}, the least violating: not shown to keep every threshold (upper bound "
        f"{chosen.excess:.3g} above)"
    )
