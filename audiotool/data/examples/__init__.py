"""Training examples: one file a kind of input and target."""
