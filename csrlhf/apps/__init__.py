"""Programs beside train.py."""
