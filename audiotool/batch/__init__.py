"""Many files: planned before anything starts, processed in isolation, resumable."""
