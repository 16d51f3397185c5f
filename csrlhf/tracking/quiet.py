"""Silences messages of libraries that are no news here; each entry says why.

Only named messages are filtered: an unknown warning stays visible.
"""

from __future__ import annotations

import logging
import os
import warnings

from transformers.utils import logging as transformers_logging

IGNORED = (
    # The loaders read small in-memory data sets; worker processes would cost more than they save.
    r".*does not have many workers.*",
    # Tiny runs log every step on purpose.
    r".*smaller than the logging interval.*",
    # A working folder that a run continues in is not empty on purpose.
    r".*Checkpoint directory .* exists and is not empty.*",
    # CPU is the default here, also on machines with a GPU.
    r".*GPU available but not used.*",
    # A run that max_steps ends within its first epoch has no validation yet; the runner validates its weights.
    r".*could not find the monitored key.*",
    # torchmetrics' own tensor layout.
    r".*torch.searchsorted\(\): input value tensor is non-contiguous.*",
    # Stages without validation data define no validation loop.
    r".*You defined a `validation_step` but have no `val_dataloader`.*",
    # Frozen models (reference, reward, cost) stay in eval mode on purpose.
    r".*Found .* module\(s\) in eval mode.*",
    # Figures are averaged over the processes before they are logged.
    r".*It is recommended to use `self.log\(.*sync_dist=True\)`.*",
    # Its new name is unknown to older versions of torch.
    r".*`broadcast_buffers` is deprecated.*",
    # Raised by Lightning's own use of torch.utils._pytree, not by ours.
    r".*`?isinstance\(treespec, LeafSpec\)`? is deprecated.*",
    # The resume checkpoint restarts its epoch from the data order, a function of (seed, epoch).
    r".*resuming from a checkpoint that ended before the epoch ended.*",
)


def quiet() -> None:
    """Filters the messages above and Lightning's and transformers' start-up chatter."""
    for message in IGNORED:
        warnings.filterwarnings("ignore", message=message)
    # Device tables and tips ("GPU available: False", "Tip: ...") are logged at INFO.
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers").setLevel(logging.INFO)  # the report that trainer.profiler is for
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # misses kernels for 4-bit weights, unused here
    transformers_logging.disable_progress_bar()  # one per file read or written, between the stage's own bars
    transformers_logging.set_verbosity_error()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # forked loaders would warn
