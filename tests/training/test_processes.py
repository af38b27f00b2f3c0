"""Trainings in processes of their own: killed, interrupted, and two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kit.curves import curve
from kit.patience import PATIENCE, wait_until
from kit.plugin import install_plugin
from kit.ports import free_port

from audiotool import recipe
from audiotool.errors import RecipeError
from audiotool.signals import calling_on_request
from audiotool.training.trainer import Trainer

Write = Callable[[dict[str, Any]], Path]


def start(
    arguments: list[str | Path], launcher: list[str] | None = None, **environment: str
) -> subprocess.Popen[str]:
    command = [sys.executable, *(launcher or []), "-m", "audiotool", "train", *map(str, arguments)]
    options = ["--device", "cpu", "--threads", "1"]
    # A session of its own stands for a terminal: its Ctrl-C reaches every process.
    return subprocess.Popen(
        [*command, *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )


def wait_for_file(folder: Path, pattern: str, process: subprocess.Popen[str]) -> None:
    """Return when a run in another process has written such a file."""

    def is_there() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return any(folder.glob(pattern))

    wait_until(is_there)


@pytest.fixture
def long_recipe(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    tiny_recipe["train"]["steps"] = 60
    tiny_recipe["validation"]["count"] = 0
    tiny_recipe["checkpointing"] = {"every": 10, "keep": 100}
    return tiny_recipe


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such sockets")
def test_loaders_pass_batches_however_long_the_path_of_temporary_files_is(
    tiny_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    tiny_recipe["train"]["steps"] = 2
    tiny_recipe["validation"]["count"] = 0
    tiny_recipe["data"]["workers"] = 1
    path, long = write_recipe(tiny_recipe), tmp_path / ("d" * 100)
    long.mkdir()
    process = start([path, "--run", tmp_path / "run"], TMPDIR=str(long))
    try:
        _, printed = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


KILLED = """
import os, signal, sys
from audiotool import recipe
from audiotool.training.trainer import Trainer

trainer = Trainer(recipe.load(sys.argv[1]), sys.argv[2], "cpu")
step = trainer._step

def killed_at_35(batches):
    step(batches)
    if trainer.current.counters.step == 35:
        os.kill(os.getpid(), signal.SIGKILL)

trainer._step = killed_at_35
trainer.run()
"""


def test_killed_run_resumes_as_if_nothing_had_happened(
    long_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    path, parts = write_recipe(long_recipe), tmp_path / "parts"
    done = subprocess.run([sys.executable, "-c", KILLED, path, parts], timeout=PATIENCE)
    assert done.returncode == -signal.SIGKILL
    resumed = Trainer(recipe.load(path), parts, "cpu")
    assert resumed.current.folder.load_state()["step"] == 30  # type: ignore[index]
    resumed.run(resume=True)
    whole = Trainer(recipe.load(path), tmp_path / "whole", "cpu")
    whole.run()
    assert curve(parts / "train.csv") == curve(tmp_path / "whole" / "train.csv")
    ended, expected = (trainer.current.model.state_dict() for trainer in (resumed, whole))
    torch.testing.assert_close(ended, expected, rtol=0, atol=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_run_saves_its_state_and_says_so(
    long_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path, number: signal.Signals
) -> None:
    long_recipe["train"]["steps"] = 100_000
    long_recipe["data"]["workers"] = 1
    process = start([write_recipe(long_recipe), "--run", tmp_path / "run"])
    wait_for_file(tmp_path / "run", "states/step-*.pt", process)
    os.killpg(process.pid, number)
    _, printed = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, printed
    assert "go on with --resume" in printed
    last = Trainer(recipe.load(tmp_path / "tiny.yaml"), tmp_path / "run", "cpu").current.folder.load_state()
    assert last is not None
    assert f"{last['step']} of 100000 steps" in printed


BROKEN_LOSS = """
from audiotool.losses.base import Loss

class BrokenLoss(Loss):
    name = "broken-loss"

    def forward(self, outputs, batch):
        raise KeyError("broken")
"""


def test_after_an_error_the_command_and_its_loaders_end_with_the_traceback(
    tiny_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = {"broken-loss": "broken_loss:BrokenLoss"}
    install_plugin(tmp_path, "broken-loss", {"broken_loss": BROKEN_LOSS}, {"audiotool.losses": losses})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    tiny_recipe["loss"] = [{"name": "broken-loss"}]
    tiny_recipe["data"]["workers"] = 1
    process = start([write_recipe(tiny_recipe), "--run", tmp_path / "run", "--debug"])
    try:
        # The loaders hold the other ends of these pipes.
        _, printed = process.communicate(timeout=PATIENCE)
        assert process.returncode == 1
        assert "KeyError: 'broken'" in printed
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def test_after_an_error_signals_end_the_program_again() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    inside: list[object] = []

    def fail() -> None:
        inside.extend(signal.getsignal(number) for number in numbers)
        raise KeyError

    with pytest.raises(KeyError), calling_on_request(lambda number, frame: None):
        fail()
    assert all(now is not then for now, then in zip(inside, before, strict=True))
    assert [signal.getsignal(number) for number in numbers] == before


def test_two_machines_equal_one_with_the_doubled_batch(
    tiny_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    tiny_recipe["adversarial"] = {
        "discriminators": [{"name": "parallel-wavegan", "config": {"layers": 3, "conv_channels": 4}}],
        "start": 2,
    }
    path = write_recipe(tiny_recipe)
    nodes = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    with free_port() as port:
        nodes += ["--master-addr", "127.0.0.1", "--master-port", str(port), "--node-rank"]
        processes = [start([path, "--folder", tmp_path / "two"], [*nodes, str(rank)]) for rank in (0, 1)]
        for process in processes:
            _, printed = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, printed
    Trainer(recipe.load(path, ["train.batch_size=4"]), tmp_path / "one", "cpu").run()
    for name in ("train.csv", "valid.csv"):
        two, one = curve(tmp_path / "two" / name), curve(tmp_path / "one" / name)
        assert len(two) == len(one)
        for a, b in zip(two, one, strict=True):
            assert a.keys() == b.keys()
            for name_of in ("set", "metric"):
                assert a.pop(name_of, None) == b.pop(name_of, None), "both validate alike"
            for key in a:
                assert float(a[key] or 0) == pytest.approx(float(b[key] or 0), rel=1e-3, abs=1e-5), key


HOLDER = """
import os, sys
from audiotool.training.folder import RunFolder

with RunFolder(sys.argv[1], "tiny").held():
    if os.fork():
        print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no locks")
def test_a_run_is_trained_by_one_process_at_a_time(
    long_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    path, run = write_recipe(long_recipe), tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for resume in (False, True):
            with pytest.raises(RecipeError, match=r"run is being trained by another process"):
                Trainer(recipe.load(path), run, "cpu").run(resume)
        # The process that it forked lives on, as loaders do for a while.
        other.kill()
        other.wait()
        Trainer(recipe.load(path, ["train.steps=1"]), run, "cpu").run()


SECOND_STOPS = """
import sys
from audiotool import recipe
from audiotool.training.trainer import Trainer

trainer = Trainer(recipe.load(sys.argv[1]), sys.argv[2], "cpu")
step = trainer._step

def stop_after_three(batches):
    step(batches)
    if trainer.current.fabric.global_rank == 1 and trainer.current.counters.step == 3:
        trainer.stop()

trainer._step = stop_after_three
summary = trainer.run()
assert (summary.step, summary.interrupted) == (3, True), summary
"""


def test_processes_stop_together(long_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path) -> None:
    """A signal does not reach all of them in the same step."""
    script = tmp_path / "second_stops.py"
    script.write_text(SECOND_STOPS)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, script, write_recipe(long_recipe), tmp_path / "run"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in (tmp_path / "run" / "states").iterdir()] == ["step-0000000003.pt"]


def test_metric_processes_end_with_a_killed_training(
    tiny_recipe: dict[str, Any], write_recipe: Write, tmp_path: Path
) -> None:
    tiny_recipe["train"]["steps"] = 100_000
    tiny_recipe["validation"] |= {"metrics": ["si_sdr"], "metric": "si_sdr"}
    process = start([write_recipe(tiny_recipe), "--run", tmp_path / "run"])
    wait_for_file(tmp_path / "run", "valid.csv", process)
    process.kill()
    # They hold the other ends of these pipes.
    process.communicate(timeout=PATIENCE)
