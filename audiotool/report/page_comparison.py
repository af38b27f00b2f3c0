"""The comparison with another system on a page: a line a metric."""

from __future__ import annotations

from audiotool.report.comparison import HEADINGS, Comparison
from audiotool.report.markup import Markup, element


def comparison_section(found: Comparison) -> Markup:
    """Return the section: heading, table, and what the columns mean."""
    heads = [element("th", heading, scope="col") for heading in HEADINGS]
    lines = [
        element("tr", element("th", metric, scope="row"), *(element("td", cell) for cell in cells))
        for metric, *cells in found.lines()
    ]
    whole = element("table", element("thead", element("tr", *heads)), element("tbody", *lines))
    place = {"class_": "scroll", "tabindex": "0", "role": "region", "aria_label": "Comparison"}
    return element(
        "section",
        element("h2", found.heading),
        element("div", whole, **place) if lines else "",
        element("p", found.remark, class_="quiet"),
        class_="comparison",
    )
