"""Reading and writing audio in blocks: numpy float32 (frames, channels), through soundfile."""
