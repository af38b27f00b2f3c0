"""Tasks: one file each, with its options, outputs, processor and scoring; `load` is `audiotool.load`."""
