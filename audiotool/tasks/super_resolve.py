"""Super-resolve: narrow-band speech in, wide-band speech out."""

from audiotool.tasks.base import Task


class SuperResolve(Task):
    name = "super-resolve"
    verb = "super-resolving"
    done = "super-resolved"
    metrics = ("lsd", "lsd_high", "pesq", "stoi", "si_sdr")
    selection_metric = ("lsd", False)
    widens = True
    example = "narrow-band"
