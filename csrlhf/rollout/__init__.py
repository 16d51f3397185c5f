"""Sampling responses and scoring them."""
