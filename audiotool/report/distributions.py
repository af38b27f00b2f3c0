"""SVG histograms of a metric's scores: inputs in grey, outputs in colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from audiotool.metrics.rows import Row, comparable, means, numbers
from audiotool.report.markup import Markup, element
from audiotool.report.scores import Measure, rounded

FEWEST_BINS, MOST_BINS = 6, 28
WIDTH, HEIGHT, FOOT = 280, 92, 18
FEWEST = 3
"""Least number of files for which a histogram is drawn."""


def distribution(measure: Measure, rows: Sequence[Row]) -> Markup | None:
    """Return the figure of one metric, of the files that count in its mean; None for fewer than `FEWEST`."""
    before, after = map(np.array, numbers(comparable(rows, measure.name), measure.name))
    if len(after) < FEWEST:
        return None
    both = np.concatenate((before, after))
    low, high = float(both.min()), float(both.max())
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    bins = min(max(round(2 * math.sqrt(len(after))), FEWEST_BINS), MOST_BINS)
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(side, edges)[0] for side in (before, after)]
    tallest = max(1, *(int(c.max(initial=0)) for c in counts))
    shapes: list[Markup] = []
    for name, side, heights in (("before", before, counts[0]), ("after", after, counts[1])):
        if len(side):
            x = (float(side.mean()) - low) / (high - low) * WIDTH
            shapes.append(element("path", d=_outline(heights / tallest * HEIGHT), class_=f"area {name}"))
            shapes.append(
                element("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=HEIGHT, class_=f"mean {name}")
            )
    shapes.append(element("line", x1=0, x2=WIDTH, y1=HEIGHT, y2=HEIGHT, class_="axis"))
    ends = ((0, "start", low), (WIDTH, "end", high))
    shapes += [
        element("text", rounded(value), x=x, y=HEIGHT + FOOT - 4, text_anchor=anchor)
        for x, anchor, value in ends
    ]
    caption = _caption(before, after, means(rows, measure.name).counted)
    drawing = element(
        "svg",
        *shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT + FOOT}",
        role="img",
        aria_label=f"Distribution of {measure.name}: {caption}",
    )
    return element("figure", element("figcaption", element("b", measure.heading), " ", caption), drawing)


def _caption(before: np.ndarray, after: np.ndarray, counted: str) -> str:
    """Return the means and the number of files as text: "mean 1.52 → 2.41, 12 of 14 files"."""
    found = [rounded(float(side.mean())) for side in (before, after) if len(side)]
    return f"mean {' → '.join(found)}, {counted or len(after)} files"


def _outline(heights: np.ndarray) -> str:
    """Return the SVG path along the tops of the bars, whose heights are in pixels."""
    step = WIDTH / len(heights)
    parts = [f"M0 {HEIGHT}"]
    for n, height in enumerate(heights):
        parts.append(f"V{HEIGHT - height:.1f}H{(n + 1) * step:.1f}")
    return f"{''.join(parts)}V{HEIGHT}Z"
