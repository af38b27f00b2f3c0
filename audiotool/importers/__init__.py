"""Importers: one file a format of official checkpoints."""
