"""Finite-sample statistics of a violation rate."""
