"""Classes that other packages add by entry points are imported lazily; a broken one is reported in one
line."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.command import run_process
from kit.plugin import TASK, install_plugin

from audiotool import discovery
from audiotool.errors import InputError
from audiotool.metrics.base import METRICS, Pair

WER = """
from audiotool.metrics.base import Metric

class WordErrorRate(Metric):
    name = "wer"
    unit = "%"
    higher_is_better = False

    def measure(self, pair):
        return 100.0 * (len(pair.reference) != len(pair.estimate))
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    discovery.warn_once.cache_clear()
    return tmp_path


def test_a_metric_of_another_package_is_found_by_its_name(place: Path) -> None:
    install_plugin(
        place, "toy-scores", {"toy_scores": WER}, {"audiotool.metrics": {"wer": "toy_scores:WordErrorRate"}}
    )
    assert METRICS.added() == [("wer", "toy-scores 1.0")]
    assert "toy_scores" not in sys.modules, "not imported before it is used"
    assert "wer" in METRICS
    found = METRICS.get("wer")
    assert found.__module__ == "toy_scores"
    assert METRICS.all()["wer"] is found
    assert "wer" not in METRICS.builtin()
    with pytest.raises(InputError, match="did you mean 'wer'"):
        METRICS.get("werr")


def test_the_projects_own_names_do_not_ask_other_packages(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(**_: object) -> None:
        raise AssertionError("entry points were read")

    monkeypatch.setattr("importlib.metadata.entry_points", asked)
    assert METRICS.get("si_sdr").name == "si_sdr"
    assert METRICS.get("pesq_nb").name == "pesq_nb", "not named after its module"
    assert "stoi" in METRICS


@pytest.mark.parametrize(
    ("text", "target", "reason"),
    [
        ("raise RuntimeError('no\\nrecogniser')", "broken_scores:Wer", "RuntimeError: no recogniser"),
        ("import recogniser_that_is_not_there", "broken_scores:Wer", "ModuleNotFoundError"),
        ("import sys; sys.exit('no licence')", "broken_scores:Wer", "SystemExit: no licence"),
        ("", "broken_scores:Wer", "AttributeError"),
        ("class Wer: name = 'wer'", "broken_scores:Wer", "is no Metric"),
        (WER.replace('"wer"', '"word-errors"'), "broken_scores:WordErrorRate", "has the name 'word-errors'"),
    ],
)
def test_a_broken_one_is_one_line_that_names_the_package(
    place: Path, caplog: pytest.LogCaptureFixture, text: str, target: str, reason: str
) -> None:
    sys.modules.pop("broken_scores", None)
    install_plugin(place, "broken-scores", {"broken_scores": text}, {"audiotool.metrics": {"wer": target}})
    with caplog.at_level(logging.WARNING):
        assert "wer" not in METRICS.all()
        assert "si_sdr" in METRICS.all(), "the others are not lost, and the warning comes once"
    (record,) = caplog.records
    assert "metric 'wer' of package broken-scores 1.0 is left out" in record.getMessage()
    assert reason in record.getMessage()
    assert "\n" not in record.getMessage()
    with pytest.raises(InputError, match=r"broken-scores 1\.0"):
        METRICS.get("wer")
    sys.modules.pop("broken_scores", None)


class TypeLikeAlias:
    """What `isinstance` takes for a class although it is none, on any Python."""

    __class__ = type  # type: ignore[assignment]


@pytest.mark.parametrize("alias", [Callable[[int], None], list[int], TypeLikeAlias()])
def test_an_alias_beside_the_classes_is_no_class(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, alias: object
) -> None:
    monkeypatch.setattr("audiotool.metrics.stoi.alias", alias, raising=False)
    assert {"stoi", "si_sdr"} <= set(METRICS.all())
    install_plugin(place, "toy-alias", {"toy_alias": ""}, {"audiotool.metrics": {"wer": "toy_alias:alias"}})
    monkeypatch.setattr("toy_alias.alias", alias, raising=False)
    with pytest.raises(InputError, match="is no Metric"):
        METRICS.get("wer")


def test_of_two_packages_with_one_name_the_one_in_use_is_named(place: Path) -> None:
    for name in ("later-scores", "first-scores"):
        module = name.replace("-", "_")
        entry = {"audiotool.metrics": {"wer": f"{module}:WordErrorRate"}}
        install_plugin(place, name, {module: WER}, entry)
    assert METRICS.get("wer").__module__ == METRICS.all()["wer"].__module__ == "first_scores"
    assert METRICS.called("wer") == "metric 'wer' of package first-scores 1.0"


def test_a_builtin_name_cannot_be_replaced(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = WER.replace('"wer"', '"stoi"')
    install_plugin(place, "rival", {"rival": text}, {"audiotool.metrics": {"stoi": "rival:WordErrorRate"}})
    with caplog.at_level(logging.WARNING):
        assert METRICS.all()["stoi"].__module__ == "audiotool.metrics.stoi"
    (record,) = caplog.records
    assert "rival 1.0" in record.getMessage()
    assert METRICS.get("stoi").__module__ == "audiotool.metrics.stoi"


def test_a_task_of_another_package_is_a_command(tmp_path: Path) -> None:
    install_plugin(tmp_path, "rooms", {"rooms": TASK}, {"audiotool.tasks": {"declip": "rooms:Declip"}})
    install_plugin(tmp_path, "ruin", {"ruin": "import ruins"}, {"audiotool.tasks": {"ruin": "ruin:Ruin"}})

    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}

    done = run_process("--help", env=environment)
    assert done.returncode == 0
    assert "declip" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("audiotool: task 'ruin' of package ruin 1.0 is left out: ModuleNotFoundError")
    assert "Take the clipping out" in run_process("declip", "--help", env=environment).stdout
    assert run_process("denoise", "--help", env=environment).stderr == "", (
        "a task of audiotool reads no entry points"
    )


def test_a_task_of_which_no_command_can_be_made_is_left_out(tmp_path: Path) -> None:
    text = TASK.replace("EnhancementOptions\n    scoring", "Odd\n    scoring").replace(
        "class Declip", "class Odd: pass\n\nclass Declip"
    )
    install_plugin(tmp_path, "rooms", {"rooms": text}, {"audiotool.tasks": {"declip": "rooms:Declip"}})
    paths = (str(tmp_path), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    expected = (
        "audiotool: {}task 'declip' of package rooms 1.0 is left out: TypeError: must be called with a dat"
    )
    done = run_process("--help", env=environment)
    assert (done.returncode, "denoise" in done.stdout, "declip" in done.stdout) == (0, True, False)
    assert done.stderr.startswith(expected.format(""))
    assert len(done.stderr.splitlines()) == 1
    done = run_process("declip", "a.wav", env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(expected.format("error: "))


def test_a_metric_scores_a_pair(place: Path) -> None:
    import numpy as np

    install_plugin(
        place, "toy-scores", {"toy_pair": WER}, {"audiotool.metrics": {"wer": "toy_pair:WordErrorRate"}}
    )
    pair = Pair(np.zeros(8), np.zeros(8), 16000)
    assert METRICS.get("wer")().measure(pair) == 0.0
