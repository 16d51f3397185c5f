"""Sweeps: which runs a W&B sweep file asks for, running them on this machine, and what they show together."""
