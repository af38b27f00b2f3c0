"""Streams: streamers of models, resampling, the upper band, mixing, and states as values."""
