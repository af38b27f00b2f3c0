"""Signal processing without trained weights: transforms, windows, mel, F0, whole and streaming."""
