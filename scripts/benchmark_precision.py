"""Speed-up of training on a CPU in half precision, and the deviation of the gradient, as Markdown.

    python scripts/benchmark_precision.py [RECIPE ...] [--set KEY=VALUE ...] [--steps 6]

One step of a recipe whose input is a waveform, on one thread, with a batch that is made up: forward, losses,
backward and optimiser, in seconds of audio a second of processor time, in single precision and with
`train.precision=bf16`. Data is not part of it. The cosine is that of both gradients, of random weights.
"""

from __future__ import annotations

import argparse
import time

import torch
from plain_errors import run_script
from torch import Tensor

from audiotool import recipe
from audiotool.models.base import Model
from audiotool.models.registry import MODELS
from audiotool.recipe.schema import Recipe
from audiotool.training.memory import keep_freed_memory
from audiotool.training.objective import Objective
from audiotool.training.optimiser import build_optimiser


def seconds(parsed: Recipe) -> float:
    """Length of an example."""
    if parsed.audio.segment_seconds is None:
        raise SystemExit(f"{parsed.name}: its examples are not cut by audio.segment_seconds")
    return parsed.audio.segment_seconds


def made_up(parsed: Recipe, stems: int) -> dict[str, Tensor]:
    """A batch: noise, and louder noises that come and go in place of speech."""
    generator = torch.Generator().manual_seed(0)
    length = round(seconds(parsed) * parsed.audio.sample_rate)
    shape = (parsed.train.batch_size, stems, length)
    swells = torch.sin(torch.arange(length) * (8 / parsed.audio.sample_rate)).square()
    target = 0.1 * torch.randn(shape, generator=generator) * swells
    mixture = target.sum(1, keepdim=True)
    return {"input": mixture + 0.03 * torch.randn(mixture.shape, generator=generator), "target": target}


def gradient(model: Model, objective: Objective, batch: dict[str, Tensor], half: bool) -> Tensor:
    """All weights' gradients in one vector; they are left in the weights, too."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs = model.training_outputs(batch)
    objective({key: value.float() for key, value in outputs.items()}, batch)[0].backward()
    return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])


def row(name: str, settings: list[str], steps: int) -> str:
    """A line of the table."""
    parsed = recipe.load(name, settings)
    torch.manual_seed(0)
    model = MODELS.get(parsed.model.name).from_config(parsed.model.config).train()
    objective, batch = Objective(parsed), made_up(parsed, len(model.stems))
    gradients, speeds = [], []
    for half in (False, True):
        model.zero_grad()
        gradients.append(gradient(model, objective, batch, half))
    optimiser = build_optimiser(parsed.optimiser, model)
    for half in (False, True):
        taken = []
        for _ in range(steps):
            begin = time.process_time()
            gradient(model, objective, batch, half)
            optimiser.step()
            optimiser.zero_grad()
            taken.append(time.process_time() - begin)
        speeds.append(seconds(parsed) * parsed.train.batch_size / sorted(taken)[steps // 2])
    cosine = float(torch.cosine_similarity(gradients[0], gradients[1], dim=0))
    return f"| {name} | {speeds[0]:.1f} | {speeds[1]:.1f} | {speeds[1] / speeds[0]:.2f} | {cosine:.4f} |"


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=["denoise-broad"], metavar="RECIPE")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=6, help="timed, of each precision")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| recipe | fp32, audio s a second | bf16 | ratio | cosine |\n| --- | ---: | ---: | ---: | ---: |")
    for name in options.recipes:
        print(row(name, options.settings, options.steps), flush=True)


if __name__ == "__main__":
    run_script(main)
