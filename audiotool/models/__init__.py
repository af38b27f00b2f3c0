"""Models: one file an architecture, found by name; `base` has their contract."""
