"""The HTML report: one page to look at and listen to, without network and without external scripts.

    head        command, model, totals and failures
    comparison  another system on the same files, if there is one
    spread      a histogram of each metric
    table       one row a file; the script sorts, filters and opens rows
    data        one block of JSON a file, with its pictures and sounds; it is parsed when the row is opened

If the pictures are large and no sound is embedded, they are files in a folder beside the page, NAME_files.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from audiotool.atomic import replacing
from audiotool.errors import InputError
from audiotool.metrics.rows import Row
from audiotool.metrics.values import Curve
from audiotool.report.distributions import distribution
from audiotool.report.gallery import Sound
from audiotool.report.markup import Markup, data_block, element, relative_url
from audiotool.report.media import WAVE_ROWS, Clip
from audiotool.report.overview import BANDS, RANGE_DB, TICKS_HZ, mel
from audiotool.report.page_comparison import comparison_section
from audiotool.report.page_head import head, title
from audiotool.report.page_table import table
from audiotool.report.report import Report
from audiotool.report.scores import Measure, measures_of
from audiotool.report.sound import KIND
from audiotool.report.spool import Blob, content
from audiotool.text import one_line
from audiotool.writable import as_input_error, obstacle

EMBEDDED_PICTURES = 3_000_000
"""Total size in bytes up to which a page without embedded sound embeds its pictures."""

CURVE_POINTS = 1000
"""Greatest number of points of a score over time."""

LABEL_HEIGHT = 0.7 / 7.5 * (WAVE_ROWS + BANDS) / BANDS
"""Height of a label as a share of the lowest spectrogram's, by page.css: 0.7 rem beside 7.5 rem."""

_PICTURE_NAME = re.compile(r"[0-9a-f]{24}\.png")
_KEYS = (
    ("Space", "play or pause"),
    ("A", "the other of two recordings"),
    ("1 to 9", "this recording"),
    ("← →", "one second"),
    ("J K", "next or previous file"),
    ("/", "filter"),
    ("Esc", "close"),
)


def write_page(path: Path, report: Report, sound: Sound) -> None:
    """Write the page, completely or not at all.

    Args:
        report: the report; the pictures and sounds of a row are its `media`.
        sound: where the sound is.
    Raises:
        InputError: the file cannot be written, or the disk is full.
    """
    folder = None if sound == "embed" or _pictures(report.rows) <= EMBEDDED_PICTURES else files_folder(path)
    if folder is not None and (reason := obstacle(folder / "picture.png")) is not None:
        raise InputError(f"cannot write the pictures of {path}: {reason}")
    addresses = _Addresses(path.parent, folder, sound)
    with as_input_error(path):
        with replacing(path) as file:
            for part in _parts(report, addresses):
                # Bytes of names that are no UTF-8 were made visible before; nothing else is left to escape.
                file.write(part.encode(errors="backslashreplace"))
        addresses.remove_others()


def files_folder(path: Path) -> Path:
    """Return the folder of a page's pictures, for pages that do not embed them."""
    return path.with_name(f"{path.stem}_files")


class _Addresses:
    """The URLs of a page's pictures and sounds.

    Args:
        page: folder of the page.
        folder: folder of the pictures; None embeds them.
        sound: where the sound is.
    """

    def __init__(self, page: Path, folder: Path | None, sound: Sound) -> None:
        self.page = page
        self.folder = folder
        self.sound = sound
        self._names: set[str] = set()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def picture(self, blob: Blob) -> str:
        """Return the URL of a picture; a picture that is not embedded is written into the folder."""
        data = content(blob)
        if self.folder is None:
            return _inline("image/png", data)
        # Pictures are named by their content, so that an earlier page keeps its own until it is replaced.
        name = f"{hashlib.sha256(data).hexdigest()[:24]}.png"
        (self.folder / name).write_bytes(data)
        self._names.add(name)
        return relative_url(self.folder / name, self.page)

    def sound_of(self, clip: Clip) -> str | None:
        """Return the URL of a clip's sound; None if the page has none."""
        if clip.sound is not None:
            return _inline(KIND, content(clip.sound))
        linked = self.sound == "link" and clip.path is not None
        return relative_url(Path(str(clip.path)), self.page) if linked else None

    def remove_others(self) -> None:
        """Remove the pictures of an earlier page of this name from the folder."""
        for old in self.folder.iterdir() if self.folder is not None else ():
            if _PICTURE_NAME.fullmatch(old.name) and old.name not in self._names:
                old.unlink(missing_ok=True)


def _parts(report: Report, addresses: _Addresses) -> Iterator[str]:
    measures = measures_of(report.rows)
    script, style = (_own(name) for name in ("page.js", "page.css"))
    yield '<!doctype html>\n<html lang="en">\n'
    yield element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title(report)),
        element("style", Markup(style)),
    )
    yield "\n<body>\n"
    yield head(report, measures)
    if report.comparison is not None:
        yield comparison_section(report.comparison)
    figures = [figure for m in measures if (figure := distribution(m, report.rows)) is not None]
    if figures:
        before = (element("i", class_="before"), "input") if any(row.baseline for row in report.rows) else ()
        after = (element("i", class_="after"), "output; lines are means")
        legend = element("p", *before, *after, class_="legend")
        yield element("section", legend, *figures, class_="spread", aria_label="How the scores are spread")
    yield element("main", *_main(report, measures))
    for n, row in enumerate(report.rows):
        yield data_block(f"m{n}", _data(row, addresses))
    yield element("script", Markup(script))
    yield "</body>\n</html>\n"


def _main(report: Report, measures: Sequence[Measure]) -> list[Markup]:
    if not report.rows:
        return [element("p", "No files.", class_="quiet")]
    choices = {
        "": "all files",
        "done": "done",
        "skipped": "there before",
        "failed": "failed",
        "worse": "got worse",
        "remarks": "with remarks",
    }
    options = [element("option", words, value=value) for value, words in choices.items()]
    keys = [element("span", element("kbd", key), f" {words}") for key, words in _KEYS]
    bar = element(
        "form",
        element(
            "label", "Filter ", element("input", type="search", id="filter", placeholder="part of a name")
        ),
        element("label", "Show ", element("select", *options, id="show")),
        element("output", id="count", aria_live="polite"),
        element("button", "Dark", type="button", id="theme"),
        class_="bar",
    )
    return [
        bar,
        element(
            "noscript",
            element("style", Markup(".later { display: table-row; }")),
            element("p", "Sorting and listening need JavaScript, which is off here."),
        ),
        element(
            "div",
            table(report.rows, measures),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="Files",
        ),
        element("p", element("button", "Show all", type="button", id="all"), class_="more", hidden=True),
        element("template", element("p", *keys, class_="keys"), id="keys"),
    ]


def _data(row: Row, addresses: _Addresses) -> dict[str, Any]:
    """Return the data that the script needs to open a row."""
    media = row.media
    data: dict[str, Any] = {"notes": [one_line(remark) for remark in row.remarks]}
    if row.curves:
        data["curves"] = [_curve(name, curve) for name, curve in row.curves.items()]
    if media is None:
        return data
    return data | {
        "clips": [_clip(clip, addresses) for clip in media.clips],
        "gain": list(media.gain_db),
        "range": round(RANGE_DB),
        "wave": WAVE_ROWS / (WAVE_ROWS + BANDS),
        "ticks": _ticks(media.top_hz),
    }


def _clip(clip: Clip, addresses: _Addresses) -> dict[str, Any]:
    return {
        "role": clip.role,
        "label": clip.label,
        "path": None if clip.path is None else one_line(clip.path),
        "seconds": round(clip.seconds, 3),
        "width": round(clip.width_s, 4),
        "level": None if clip.level_db is None else round(clip.level_db, 2),
        "form": f"{clip.sample_rate} Hz, {clip.channels} channel{'s' if clip.channels > 1 else ''}",
        "picture": addresses.picture(clip.picture),
        "sound": addresses.sound_of(clip),
        **({"sum": True, "rate": clip.sample_rate} if clip.is_sum else {}),
    }


def _curve(name: str, curve: Curve) -> dict[str, Any]:
    """Return a score over time; of long recordings, means over several steps."""
    together = -(-len(curve.values) // CURVE_POINTS) or 1
    points = []
    for first in range(0, len(curve.values), together):
        known = [value for value in curve.values[first : first + together] if value is not None]
        points.append(round(math.fsum(known) / len(known), 4) if known else None)
    return {"label": one_line(name), "step": curve.step_s * together, "values": points}


def _ticks(top_hz: float) -> list[tuple[str, float]]:
    """Return the label and the place of each frequency beside a spectrogram, a share of its height. Where two
    would overlap the higher one stays."""
    kept: list[tuple[str, float]] = []
    for hz in reversed(TICKS_HZ):
        place = round(mel(hz) / mel(top_hz), 4)
        if hz < 0.9 * top_hz and (not kept or kept[-1][1] - place >= LABEL_HEIGHT):
            kept.append((_hertz(hz), place))
    return kept[::-1]


def _hertz(hz: float) -> str:
    return f"{hz / 1000:g} kHz" if hz >= 1000 else f"{hz:g} Hz"


def _inline(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _pictures(rows: Sequence[Row]) -> int:
    """Return the size of all pictures in bytes, encoded as base64."""
    clips = [clip for row in rows if row.media is not None for clip in row.media.clips]
    return sum(_size(clip.picture) for clip in clips) * 4 // 3


def _size(blob: Blob) -> int:
    return len(blob) if isinstance(blob, bytes) else blob.size


def _policy(script: str) -> str:
    """Return the content security policy: the page runs its own script, and shows and plays its own files."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline';"
        " img-src data: 'self' file:; media-src blob: 'self' file:; base-uri 'none'; form-action 'none'"
    )


def _own(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
