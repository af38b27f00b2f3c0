"""Vocode: mel frames (or speech to be analysed into them) in, a waveform out."""

from audiotool.tasks.base import Task


class Vocode(Task):
    name = "vocode"
    verb = "vocoding"
    done = "vocoded"
    metrics = ("mel_l1", "mrstft", "pesq", "stoi", "f0_rmse", "vuv_error")
    selection_metric = ("mel_l1", False)
    example = "features"
