"""The guide's table of scores has every metric, with its unit, its direction and its family."""

from __future__ import annotations

import re

import pytest
from kit.docs import ROOT

from audiotool.checkpoint import read_metadata
from audiotool.errors import DependencyError
from audiotool.metrics.base import METRICS

ARROWS = {True: " ↑", False: " ↓", None: ""}


def table_of_scores() -> list[list[str]]:
    text = (ROOT / "docs" / "guides" / "batches.md").read_text(encoding="utf-8").partition("\n## Scores\n")[2]
    lines = text.partition("| --- |")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_table_of_scores_is_the_catalogue() -> None:
    rows = table_of_scores()
    known = {name: metric for name, metric in METRICS.all().items() if METRICS.package_of(name) is None}
    told: dict[str, str] = {}
    families: dict[str, str] = {}
    for names, what, unit, *_ in rows:
        for name in re.findall(r"`(\w+)`", names):
            told[name] = unit
            family = re.match(r"family `(\w+)`", what)
            families |= {name: family[1]} if family else {}
    assert told == {
        name: f"{metric.unit}{ARROWS[metric.higher_is_better]}".strip() for name, metric in known.items()
    }, "the table under Scores in docs/guides/batches.md needs a row for each metric"
    assert set(families.values()) == {metric.family for metric in known.values() if metric.family}
    assert all(known[name].family == family for name, family in families.items())


@pytest.mark.parametrize("row", table_of_scores(), ids=lambda row: row[0])
def test_the_table_has_the_extras_that_a_score_asks_for(
    row: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the core alone one message names all of them but the resampler, which other rates need."""
    for module in ("extras", "metrics.mapss", "metrics.pesq"):
        monkeypatch.setattr(f"audiotool.{module}.is_there", lambda module: False)
    always, for_rates, _ = row[-1].partition("`resampling` for other rates")
    extras = re.findall(r"`(\w+)`", always)
    for name in re.findall(r"`(\w+)`", row[0]):
        # The extra of PESQ brings the resampler.
        assert bool(METRICS.get(name).rates) == bool(for_rates or extras == ["pesq"])
        if not extras:
            METRICS.get(name).check()
        elif extras != ["mapss"]:
            with pytest.raises(DependencyError, match=rf"^[^[]*speech\[{','.join(extras)}\][^[]*$"):
                METRICS.get(name).check()


def test_the_table_has_the_windows_and_floors_of_the_code() -> None:
    from audiotool.metrics import pesq, restored_band, spectral, stoi

    text = (ROOT / "docs" / "guides" / "batches.md").read_text(encoding="utf-8")
    assert f"windows of {pesq.WINDOW_S} s at most" in text
    assert f"windows of {stoi.WINDOW_S} s at most" in text
    assert f"bins {restored_band.AUDIBLE_DB:g} dB below" in text
    assert f"({restored_band.PAUSE_DB:g} dB below the loudest)" in text
    floors = re.findall(r"\((?:a power of |a magnitude of )?(1e-\d+)", text)
    assert [float(floor) for floor in floors] == [
        spectral.POWER_FLOOR,
        *[spectral.MAGNITUDE_FLOOR] * 2,
    ]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
@pytest.mark.parametrize("name", ["denoise-tiny-16k", "denoise-16k", "denoise-large-16k"])
def test_the_denoisers_rows_are_their_checkpoints(page: str, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}`[^|]*\| (\S+) \| (\S+) \| (\S+) \|", text, re.MULTILINE)
    assert row is not None
    means = read_metadata(ROOT / "checkpoints" / f"{name}.safetensors").metrics["test, 100 files"]
    assert list(row.groups()) == [f"{means['pesq']:.2f}", f"{means['stoi']:.3f}", f"{means['si_sdr']:.1f}"]


def test_the_super_resolvers_scores_are_its_checkpoints() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = re.search(r"PESQ falls from (\S+) to (\S+) ", readme)
    assert told is not None
    metrics = read_metadata(ROOT / "checkpoints" / "super-resolve-48k.safetensors").metrics
    measured = [metrics[name]["pesq"] for name in ("test, input", "test, 60 files")]
    assert list(told.groups()) == [f"{score:.2f}" for score in measured]


def test_the_separators_row_of_the_results_is_its_checkpoints() -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    row = re.search(
        r"^\| separate, two voices, .*SI-SDR, dB \| (\S+) \(mixture\) \| (\S+) \|", text, re.MULTILINE
    )
    assert row is not None
    metrics = read_metadata(ROOT / "checkpoints" / "two-speakers-16k.safetensors").metrics
    measured = [metrics[name]["si_sdr"] for name in ("test, input", "test, 120 files")]
    assert list(row.groups()) == [f"{score:.1f}" for score in measured]
