"""Pretrained backbones, scalar heads on top of them, and how folders of either are read."""
