"""Streams and files of other programs, by WebSocket and HTTP, many at once."""
