"""The doctor finds what is wrong, whatever it is, and survives it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest
from kit.plugin import TASK, install_plugin

from audiotool import doctor, extras
from audiotool.doctor import (
    CATALOGUES,
    Finding,
    check_checkpoints,
    check_media,
    check_packages,
    check_plugins,
    check_python,
    checkpoints_fix,
    diagnose,
    import_errors,
)
from audiotool.extras import EXTRAS


@pytest.fixture(autouse=True)
def pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_there", lambda module: True)


def module(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


def test_imports_that_raise_or_die_are_distinguished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module(tmp_path, "good_one", "print('noise on stdout')")
    module(tmp_path, "raises_oserror", "raise OSError('libcudart.so.13: cannot open\\nshared object')")
    module(tmp_path, "dies", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    module(tmp_path, "exits", "raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    errors = import_errors(["raises_oserror", "good_one", "dies", "good_one", "exits", "not_there"])
    assert errors == {
        "raises_oserror": "OSError: libcudart.so.13: cannot open shared object",
        "dies": "the interpreter died while importing it (exit code -11)",
        "exits": "SystemExit: 3",
        "not_there": "ModuleNotFoundError: No module named 'not_there'",
    }


def versions(monkeypatch: pytest.MonkeyPatch, **found: str | None) -> None:
    real = extras.version_of
    for module in (doctor, extras):
        monkeypatch.setattr(module, "version_of", lambda name: found[name] if name in found else real(name))


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in findings}


def test_packages_missing_old_and_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(
        monkeypatch,
        numpy=None,
        pesq=None,
        soxr="0.4.9",
        rich="13.0.0",
        torch="2.8.0",
        torchmetrics="1.8.0",
        pystoi="0.4.0",
    )
    monkeypatch.setattr(
        doctor,
        "accepted_versions",
        lambda: {"numpy": ">=1.24", "soxr": ">=0.5", "rich": ">=13", "torch": ">=2.9"},
    )
    found = by_name(
        list(check_packages({"pystoi": "ImportError: x", "torch": "OSError", "torchmetrics": "y"}))
    )
    assert found["numpy"].detail == "not installed"
    assert found["numpy"].fix.endswith('pip install "numpy>=1.24"')
    assert found["extra pesq"].status == "ok"
    assert found["extra pesq"].detail.startswith("not installed: for PESQ")
    assert '"audiotool-speech[pesq]"' in found["extra pesq"].detail
    assert "an environment of its own `python3 -m venv" in found["extra mapss"].detail
    assert found["extra mapss"].detail.endswith(" && export AUDIOTOOL_MAPSS_PYTHON=~/mapss/bin/python`")
    assert "audiotool-speech" not in found["extra mapss"].detail
    assert found["soxr"].detail == "0.4.9, but >=0.5 is needed"
    assert found["rich"].status == "ok"
    assert found["torch"].detail == "2.8.0, but >=2.9 is needed"
    assert found["pystoi"].status == "problem"
    assert "ImportError: x" in found["pystoi"].detail
    assert found["torchmetrics"].status == "note"


@pytest.mark.parametrize(
    ("torch", "index"), [("2.11.0", ""), ("2.11.0+cpu", f" --index-url {doctor.CPU_INDEX}")]
)
def test_torch_and_torchaudio_are_installed_anew_together(
    monkeypatch: pytest.MonkeyPatch, torch: str, index: str
) -> None:
    versions(monkeypatch, torch=torch, torchaudio="2.11.1", torchmetrics="1.8.0")
    monkeypatch.setattr(doctor, "accepted_versions", dict)
    found = by_name(
        list(check_packages({"torchaudio": "OSError: undefined symbol", "torchmetrics": "OSError"}))
    )
    assert found["torchaudio"].status == "problem"
    assert found["torchaudio"].fix.endswith(f"--force-reinstall torch torchaudio{index}")
    assert found["torchmetrics"].status == "note"


def test_fsspec_alone_which_torch_brings_is_not_the_extra_remote(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, fsspec="2026.1.0", s3fs=None)
    found = by_name(list(check_packages({})))
    assert found["extra remote"].detail.startswith("s3fs not installed: for object stores and URLs `")


def test_commands_of_an_environment_without_pip_are_those_of_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(doctor, "is_there", lambda module: module != "pip")
    versions(monkeypatch, numpy=None, pesq=None)
    found = by_name(list(check_packages({})))
    assert found["numpy"].fix == 'uv pip install --python /usr/bin/python3 "numpy>=1.24"'
    assert '`uv pip install --python /usr/bin/python3 "audiotool-speech[pesq]"`' in found["extra pesq"].detail


def test_a_sounddevice_without_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, sounddevice="0.5.6")
    found = by_name(list(check_packages({"sounddevice": "OSError: PortAudio library not found"})))
    assert found["sounddevice"].status == "problem"
    assert found["sounddevice"].fix.startswith("apt-get install libportaudio2")


def test_films(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, av=None)
    (missing,) = check_media("ModuleNotFoundError: av")
    versions(monkeypatch, av="18.1")
    (broken,), (good,) = check_media("ImportError: x"), check_media(None)
    versions(monkeypatch, av="12.0.0")
    monkeypatch.setattr(doctor, "accepted_versions", lambda: {"av": ">=17"})
    (old,) = check_media(None)
    assert (missing.status, broken.status, good.status, old.status) == ("ok", "problem", "ok", "problem")
    assert "12.0.0, but >=17 is needed" in old.detail
    assert old.fix.endswith('pip install "av>=17"')
    assert "[media]" in missing.detail
    assert "ImportError: x" in broken.detail
    assert broken.fix.endswith("--force-reinstall av")


def test_every_package_that_is_needed_is_looked_at() -> None:
    document = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    needed = document[document.index("dependencies = [") : document.index("[project.optional-dependencies]")]
    assert set(re.findall(r'^    "([A-Za-z]+)', needed, re.MULTILINE)) == set(doctor.CORE)
    extras = document.partition("[project.optional-dependencies]\n")[2].partition("\n[")[0]
    for_users = set(re.findall(r"^(\w+) = \[", extras, re.MULTILINE)) - {"all", "dev", "docs", "peers"}
    assert for_users == {*doctor.OPTIONAL, "media"}
    for extra, packages in doctor.OPTIONAL.items():
        listed = re.search(rf"^{extra} = \[(.*?)\]( *#|$)", document, re.MULTILINE | re.DOTALL)
        assert listed is not None
        for name in packages:
            assert re.search(rf'"{name}(\[\w+\])?>=', listed[1]), f"{extra} brings {name}"
    # PESQ has rates of its own, and most recordings another.
    assert re.search(r'^pesq = \[[^]]*"audiotool-speech\[resampling\]"', document, re.MULTILINE)
    tried = {module for packages in doctor.OPTIONAL.values() for module in packages.values()}
    assert set(EXTRAS) - tried == {"av", "speechmos", "mapss", "ray"}


def test_accepted_versions_come_from_our_own_metadata() -> None:
    accepted = extras.accepted_versions()
    assert ">=2.9" in accepted["torch"]
    assert accepted["numpy"] == ">=1.24"
    assert not extras.satisfies("3.0", accepted["ray"]), "ray[default]>=2.40,<3"


def test_an_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (9, 9))
    [finding] = check_python()
    assert finding.status == "problem"
    assert "Python 9.9" in finding.fix


def test_changed_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audiotool.named_checkpoints.bundled_root", lambda kind: tmp_path / kind)
    monkeypatch.setattr("audiotool.named_checkpoints.verify", lambda: {"a.safetensors": "changed"})
    [finding] = check_checkpoints()
    assert finding.status == "problem"
    assert finding.detail == "a.safetensors changed"
    assert finding.fix == f"unpack the source again into {tmp_path}"
    (tmp_path / ".git").mkdir()
    [finding] = check_checkpoints()
    assert finding.fix == f"git -C {tmp_path} checkout HEAD -- checkpoints"
    stranger = tmp_path / "checkpoints" / "b.safetensors"
    monkeypatch.setattr("audiotool.named_checkpoints.verify", lambda: {"b.safetensors": "unlisted"})
    [finding] = check_checkpoints()
    assert finding.fix == f"remove {stranger}"


@pytest.mark.parametrize("kept", [True, False])
def test_changed_checkpoints_are_installed_from_where_they_came(
    kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No index has audiotool-speech: its name reinstalls nothing."""
    wheel, info = tmp_path / "my wheels" / "audiotool.whl", tmp_path / "audiotool_speech-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: audiotool-speech\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    if kept:
        wheel.parent.mkdir()
        wheel.touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("audiotool.named_checkpoints.bundled_root", lambda kind: tmp_path / "bundled" / kind)
    place = f"'{wheel}'" if kept else "CHECKOUT-OR-WHEEL"
    fix = checkpoints_fix({"a.safetensors": "missing"})
    assert fix.endswith(f"-m pip install --force-reinstall --no-deps {place}")


@pytest.mark.parametrize(
    ("platform", "interpreter", "quoted"),
    [
        ("linux", "/home/me/my env/bin/python", "'/home/me/my env/bin/python'"),
        ("linux", "/usr/bin/python3", "/usr/bin/python3"),
        ("win32", r"C:\Program Files\Python\python.exe", r'"C:\Program Files\Python\python.exe"'),
    ],
)
def test_commands_run_whatever_the_interpreters_folder_is_called(
    platform: str, interpreter: str, quoted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(sys, "executable", interpreter)
    versions(monkeypatch, numpy=None)
    found = by_name(list(check_packages({})))
    assert found["numpy"].fix.startswith(f"{quoted} -m pip install ")


@pytest.mark.parametrize("name", ["audio", "media"])
def test_a_check_that_fails_is_a_finding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("no\nidea")

    monkeypatch.setattr(doctor, "import_errors", lambda modules: {})
    monkeypatch.setattr(doctor, f"check_{name}", broken)
    findings = diagnose()
    assert Finding(name, "problem", "RuntimeError: no idea") in findings
    assert by_name(findings)["Python"].status == "ok"


def test_packages_with_plug_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    rival = TASK.replace('"declip"', '"denoise"')
    install_plugin(tmp_path, "rooms", {"rooms": TASK}, {"audiotool.tasks": {"declip": "rooms:Declip"}})
    install_plugin(tmp_path, "rival", {"rival": rival}, {"audiotool.tasks": {"denoise": "rival:Declip"}})
    assert list(check_plugins()) == [
        Finding(
            "rival 1.0",
            "problem",
            "task 'denoise' of package rival 1.0 is left out: another has that name",
        ),
        Finding("rooms 1.0", "ok", "tasks declip"),
    ]
    install_plugin(tmp_path, "ends", {"ends": "exit(3)"}, {"audiotool.metrics": {"wer": "ends:Wer"}})
    found = by_name(list(check_plugins()))
    assert found["ends 1.0"] == Finding("ends 1.0", "problem", "ends does not import: SystemExit: 3")
    assert "another has that name" in found["rival 1.0"].detail, "what ends hides no other reason"


def test_plug_ins_of_an_installation_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`audiotool.data` is refused there, which must not cost the lines of other packages."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    for group in ("tasks", "data.corpora"):
        entries = {f"audiotool.{group}": {f"a-{group}": "some_rooms:Declip"}}
        install_plugin(tmp_path, f"some-{group}", {"some_rooms": TASK}, entries)
    monkeypatch.delitem(sys.modules, "audiotool.data.corpora.base", raising=False)
    monkeypatch.delitem(sys.modules, "audiotool.data.corpora", raising=False)
    monkeypatch.delitem(sys.modules, "audiotool.data", raising=False)
    monkeypatch.setattr(extras, "is_there", lambda module: False)
    found = by_name(list(check_plugins()))
    assert found["some-data.corpora 1.0"].status == "ok", "it is not known"
    assert "has the name 'declip'" in found["some-tasks 1.0"].detail


def test_every_catalogue_is_looked_into() -> None:
    found = set()
    for path in Path(doctor.__file__).parent.rglob("*.py"):
        found.update(re.findall(r'= Catalogue\(\s*"([a-z_.]+)"', path.read_text("utf-8")))
    assert found == set(CATALOGUES)
