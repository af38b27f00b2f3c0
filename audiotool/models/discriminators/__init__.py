"""Discriminators for adversarial training, found by name."""
