"""A constrained problem whose answer is known, and the strategies on it."""
