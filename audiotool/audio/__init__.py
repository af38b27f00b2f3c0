"""Reading and writing audio in blocks: numpy float32 (frames, channels), through soundfile."""

PIPE = "-"
"""The name of standard input, and of standard output."""

STANDARD_INPUT = "standard input"
"""Its name in messages and reports."""

OPEN_FILE = "the open file"
"""Name in messages of a file that the user has opened."""
