"""The page's player: what comes late is left out and does not delay the rest, and the end is played."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import audiotool.serve

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="needs node")

WORKLET = Path(audiotool.serve.__file__).parent / "worklet.js"

FRAME = """
const made = {};
global.AudioWorkletProcessor = class { port = { postMessage() {} }; };
global.registerProcessor = (name, kind) => { made[name] = kind; };
require(process.argv[1]);
const player = new made.player({ processorOptions: { rate: 1000 } });
let next = 1;
const come = (count) => player.port.onmessage({ data: Array.from({ length: count }, () => next++) });
const play = (count) => {
  const output = [new Float32Array(count)];
  player.process([], [output]);
  return [...output[0]];
};
"""
"""A player at 1000 Hz; `come` feeds it with 1, 2, 3, …, `play` returns what it plays."""


def run(script: str) -> Any:
    words = ["node", "-e", f"{FRAME}\nconsole.log(JSON.stringify((() => {{ {script} }})()));", str(WORKLET)]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_samples_are_played_in_their_order() -> None:
    script = "const all = []; for (let n = 0; n < 40; n++) { come(50); all.push(...play(50)); } return all;"
    played = [sample for sample in run(script) if sample]
    assert played == list(range(1, len(played) + 1))
    assert len(played) >= 1900


@pytest.mark.parametrize("size", [30, 5000])
def test_after_a_stall_it_goes_on_with_the_newest(size: int) -> None:
    """Five seconds come at once or in blocks while nothing is played; then half a second waits at most."""
    script = f"come(100); play(10); for (let n = 0; n < 5000; n += {size}) come({size}); return play(10);"
    played = run(script)
    newest = 100 + -(-5000 // size) * size
    assert newest - 500 < played[0] <= newest - 60 + 1
    assert played == list(range(int(played[0]), int(played[0]) + 10))


def test_the_last_samples_are_played_however_few() -> None:
    end = "player.port.onmessage({ data: null })"
    before, after = run(f"come(30); const before = play(10); {end}; return [before, play(40)];")
    assert before == [0] * 10
    assert after == [*range(1, 31), *[0] * 10]
