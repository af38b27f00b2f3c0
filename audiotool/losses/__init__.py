"""Losses: one file a family of terms, found by a recipe's `loss:` names."""
