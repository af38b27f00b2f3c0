"""Public corpora: one file each, which makes the manifest of its folders."""
