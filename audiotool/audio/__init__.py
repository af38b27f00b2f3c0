"""Reading and writing audio in blocks: numpy float32 (frames, channels), through soundfile."""

PIPE = "-"
"""The name of standard input, and of standard output."""

STANDARD_INPUT = "standard input"
"""Its name in messages and reports."""
