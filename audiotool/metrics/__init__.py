"""Metrics of a pair of waveforms, scoring of files and folders, and the reports they give."""
