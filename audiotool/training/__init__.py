"""Training: the loop that runs a recipe, its state, validation, and the checkpoint it writes."""
