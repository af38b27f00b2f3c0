"""Reports as Markdown, for an issue or a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from audiotool import text
from audiotool.metrics.rows import Row, means, number_of
from audiotool.report.comparison import HEADINGS, Comparison
from audiotool.report.csv_table import on_one_line
from audiotool.report.report import COUNTS, Report
from audiotool.report.scores import mixed_bands, rounded

FACTS = {
    "report": "report",
    "seconds": "seconds",
    "real_time_factor": "x real time",
    "peak": "peak",
    "limited": "limited",
}
"""Facts that have columns -> their headings."""

# An underscore inside a word is no markup.
_MARKUP = re.compile(r"([\\`*{}\[\]<>#|~&]|\b_|_\b|(?<=_)_|_(?=_))")


def to_markdown(report: Report) -> str:
    """Return a heading, the facts of the run, a comparison, the table with the means, and remarks."""
    rows = report.rows
    metrics = list(dict.fromkeys(name for row in rows for name in row.values))
    facts = [name for name in FACTS if any(row.facts.get(name) is not None for row in rows)]
    lines = [f"# audiotool report: {report.extent()}", ""]
    lines += [f"- {name}: {escaped(on_one_line(value))}" for name, value in _known(report)]
    lines += ["", *_comparison(report.comparison)] if report.comparison is not None else []
    lines += ["", *_table(rows, metrics, facts)] if rows else ["", "No files."]
    notes = [f"- {escaped(row.name)}: {escaped(note)}" for row in rows for note in row.remarks]
    notes += [f"- {escaped(mixed)}"] if (mixed := mixed_bands(rows)) else []
    lines += ["", "## Remarks", "", *notes] if notes else []
    return text.encodable("\n".join(lines).rstrip() + "\n")


def escaped(value: object) -> str:
    """Return text from outside on one line, with all markup escaped."""
    return _MARKUP.sub(r"\\\1", text.one_line(str(value)))


def _known(report: Report) -> list[tuple[str, object]]:
    facts = vars(report.run) | dict.fromkeys(("model", "checkpoint_sha256", *COUNTS))
    known = [(name.replace("_", " "), value) for name, value in facts.items() if value not in (None, {})]
    made = report.checkpoints().items()
    return known + [("model", f"{model}, SHA-256 {sha256}" if sha256 else model) for model, sha256 in made]


def _table(rows: Sequence[Row], metrics: Sequence[str], facts: Sequence[str]) -> list[str]:
    heads = ["file", "status", *metrics, *(FACTS[name] for name in facts)]
    lines = [_line(map(escaped, heads)), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
    for row in rows:
        scores = [_score(row, name) for name in metrics]
        measured = [escaped(on_one_line(row.facts.get(name))) for name in facts]
        lines.append(_line([escaped(row.name), escaped(row.status), *scores, *measured]))
    if metrics and len(rows) > 1:
        lines.append(_line(["**mean**", "", *(_mean(rows, m) for m in metrics), *[""] * len(facts)]))
    return lines


def _comparison(found: Comparison) -> list[str]:
    lines = [f"## {escaped(found.heading)}", "", escaped(found.remark)]
    if found.metrics:
        lines += ["", _line(HEADINGS), _line(["---", *["---:"] * (len(HEADINGS) - 1)])]
    return lines + [_line(map(escaped, cells)) for cells in found.lines()]


def _score(row: Row, metric: str) -> str:
    return _arrow(number_of(row.baseline, metric), number_of(row.values, metric))


def _mean(rows: Sequence[Row], metric: str) -> str:
    """Return the means of input and output over the same rows, with their number where rows are missing."""
    found = means(rows, metric)
    return _arrow(found.before, found.after) + (f" ({found.counted})" if found.counted else "")


def _arrow(before: float | None, after: float | None) -> str:
    if after is None:
        return ""
    return rounded(after) if before is None else f"{rounded(before)} → {rounded(after)}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
