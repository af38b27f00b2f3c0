"""Separate: one recording in, one file a stem out."""

from audiotool.tasks.base import Task


class Separate(Task):
    name = "separate"
    verb = "separating"
    done = "separated"
    metrics = ("si_sdr", "sdr", "pesq", "stoi")
    selection_metric = ("si_sdr", True)
    example = "mixture"
