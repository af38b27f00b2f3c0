"""Recordings read and written in blocks of numpy float32 (frames, channels), by libsndfile and PyAV."""

PIPE = "-"
"""The name of standard input, and of standard output."""

STANDARD_INPUT = "standard input"
"""Its name in messages and reports."""

OPEN_FILE = "the open file"
"""Name in messages of a file that the user has opened."""
