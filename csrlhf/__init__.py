"""csrlhf: constrained RLHF for language models (CS-RLHF and Safe-RLHF side by side)."""

__version__ = "0.1.0"
