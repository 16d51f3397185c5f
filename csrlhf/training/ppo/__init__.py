"""Constrained PPO: the policy module and the parts of its iteration."""
