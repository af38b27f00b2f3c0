"""Metrics of a pair of waveforms or of one recording, and the scoring of files and folders with them."""
