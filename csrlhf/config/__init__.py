"""What Hydra has to know of us, and what can be wrong with overrides."""
