"""LightningModules, one per stage: thin, so that the algorithm reads like the paper."""
