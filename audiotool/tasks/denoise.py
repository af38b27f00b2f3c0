"""Denoise: noisy speech in, clean speech out."""

from audiotool.tasks.base import Task


class Denoise(Task):
    name = "denoise"
    verb = "denoising"
    done = "denoised"
    metrics = ("pesq", "stoi", "si_sdr", "estoi")
    selection_metric = ("pesq", True)
    example = "noisy"
