"""Batches of many files: all jobs are planned before the first starts, a failed job stops no other, and a run
can be resumed."""
