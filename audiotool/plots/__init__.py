"""Figures as PNG, SVG or PDF, by matplotlib: recordings, scores, training curves."""
