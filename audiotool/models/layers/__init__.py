"""Layers that several models share, most with a state of their own."""
