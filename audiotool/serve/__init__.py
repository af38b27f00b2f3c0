"""A server for many live streams by WebSocket and for files by HTTP."""
