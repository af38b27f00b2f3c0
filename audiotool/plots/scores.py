"""Scatter plots of scores: over the SNR of the input, and over the scores of another system."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotool.errors import InputError
from audiotool.metrics.rows import Row, number_of, numbers_of_both, of_one_file
from audiotool.metrics.values import Value
from audiotool.plots.figure import AFTER, BEFORE, panels
from audiotool.report.scores import Measure, measures_of, of_one_band
from audiotool.report.tracks import track
from audiotool.text import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

PANEL = 3.4
"""Width and height of a panel in inches."""


def input_snr_db(row: Row) -> Value:
    """Return the SNR of a row's noisy input in dB, whose noise is the input minus the reference.

    If one of them is longer, its rest counts in neither power.

    It has a reason in place of a value if a file is missing or cannot be read, their rates or channels
    differ, or one of the powers is zero.
    """
    reference = track("reference", "", row.facts.get("reference"))
    noisy = track("input", "", row.facts.get("noisy", row.facts.get("input")))
    if reference is None or noisy is None:
        return Value(None, "a noisy input and a reference that can be read are needed")
    forms = [(t.info.sample_rate, t.info.channels) for t in (reference, noisy)]
    if forms[0] != forms[1]:
        first, second = (f"{rate} Hz in {n} channel{'s' if n > 1 else ''}" for rate, n in forms)
        return Value(None, f"the reference has {first}, the noisy input {second}")
    powers = np.zeros(2)
    try:
        for signal, mixed in zip(reference.blocks(), noisy.blocks(), strict=False):
            length = min(signal.shape[1], mixed.shape[1])
            signal, noise = signal[:, :length], mixed[:, :length] - signal[:, :length]
            powers += [np.square(side, dtype=np.float64).sum() for side in (signal, noise)]
    except InputError as error:
        return Value(None, str(error))
    if powers[0] == 0:
        return Value(None, "the reference is silent")
    if powers[1] == 0:
        return Value(None, "the noisy input equals the reference")
    return Value(10 * math.log10(powers[0] / powers[1]))


def plot_by_snr(rows: Sequence[Row]) -> Figure:
    """Draw each metric of the input and the output over the SNR of the input; warn of files without one.

    Raises:
        InputError: no row's input has an SNR; the message says why.
    """
    measured = [(input_snr_db(row), row) for row in rows]
    found = [(snr.value, row) for snr, row in measured if snr.value is not None]
    if not found:
        reasons = dict.fromkeys(snr.reason for snr, _ in measured if snr.reason is not None)
        raise InputError(f"no file's input has an SNR to plot scores over: {listed(list(reasons))}")
    if lacking := [f"{row.name}: {snr.reason}" for snr, row in measured if snr.value is None]:
        log.warning("%d of %d files not drawn: %s", len(lacking), len(rows), listed(lacking))
    return _panels(measures_of(rows), lambda axes, measure: _draw_by_snr(axes, measure, found))


def plot_against(rows: Sequence[Row], others: Sequence[Row], name: str) -> Figure:
    """Draw each metric of the rows over that of other rows, a point a file.

    Args:
        rows: rows of one system.
        others: rows of the other system.
        name: name of the other system.
    Raises:
        InputError: the systems have no file and metric in common.
    """
    pairs = of_one_file(others, rows)
    shared = [m for m in measures_of([row for _, row in pairs]) if any(m.name in o.values for o, _ in pairs)]
    if not shared:
        raise InputError(f"{name} has no file and metric in common with these")
    return _panels(shared, lambda axes, measure: _draw_against(axes, measure, pairs, name))


def _panels(measures: Sequence[Measure], draw: Any) -> Figure:
    figure, drawn = panels([measure.heading for measure in measures], PANEL, PANEL)
    for axes, measure in zip(drawn, measures, strict=True):
        draw(axes, measure)
    return figure


def _draw_by_snr(axes: Any, measure: Measure, found: Sequence[tuple[float, Row]]) -> None:
    for label, colour, side in (("input", BEFORE, "baseline"), ("output", AFTER, "values")):
        scores = [(snr, number_of(getattr(row, side), measure.name)) for snr, row in found]
        points = [(snr, score) for snr, score in scores if score is not None]
        if points:
            axes.scatter(*zip(*points, strict=True), s=14, color=colour, label=label, linewidths=0)
    axes.set_xlabel("input SNR, dB")
    if axes.collections:
        axes.legend(frameon=False, fontsize="small")


def _draw_against(axes: Any, measure: Measure, pairs: Sequence[tuple[Row, Row]], name: str) -> None:
    alike = of_one_band(pairs, measure)
    points = numbers_of_both(alike, measure.name)
    if len(alike) < len(pairs):
        said = f"{len(pairs) - len(alike)} left out: narrow-band against wide-band"
        axes.text(0.03, 0.03, said, transform=axes.transAxes, fontsize="small")
    if points:
        low, high = min(map(min, points)), max(map(max, points))
        axes.plot([low, high], [low, high], color=BEFORE, linewidth=1)
        axes.scatter(*zip(*points, strict=True), s=14, color=AFTER, linewidths=0)
        changes = [measure.verdict(b - a) for a, b in points]
        counts_text = f"better {changes.count('better')}, worse {changes.count('worse')} of {len(points)}"
        axes.text(0.03, 0.95, counts_text, transform=axes.transAxes, fontsize="small", va="top")
    axes.set_xlabel(name, parse_math=False)
    axes.set_ylabel("these")
