"""Training continued from an official CleanUNet checkpoint gives the official losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from audiotool.importers.cleanunet import CleanUNetImporter
from audiotool.importers.torch_file import read_torch
from audiotool.losses.multi_resolution_stft import MultiResolutionSTFTLoss
from audiotool.losses.waveform import L1WaveformLoss
from audiotool.models.cleanunet import CleanUNet
from audiotool.recipe.schema import AdamSection, CleanUNetSchedule
from audiotool.training.optimiser import build_optimiser, set_rate
from audiotool.training.schedule import rate_factor

PARITY = Path(__file__).parents[1] / "data" / "parity"


def test_resumed_steps_equal_the_official_ones() -> None:
    official = read_torch(PARITY / "cleanunet" / "official_checkpoint.pkl")
    config_path = PARITY / "cleanunet" / "config.json"
    steps = json.loads(config_path.read_text())["train_config"]["optimization"]["n_iters"]
    importer = CleanUNetImporter()
    model = CleanUNet.from_config(importer.configuration(config_path, official))
    weights = importer.weights(official)
    model.load_weights(weights, "the official checkpoint")
    optimiser = build_optimiser(AdamSection(name="adam", lr=2e-4), model)
    _take_moments(optimiser, model, list(weights), official["optimizer_state_dict"]["state"])  # type: ignore[arg-type]

    pack = load_file(PARITY / "cleanunet_training" / "training.safetensors")
    batch = {"input": pack["train_noisy"], "target": pack["train_clean"]}
    waveform, stft = L1WaveformLoss(), MultiResolutionSTFTLoss(spectral_convergence=0.5, log_magnitude=0.5)
    # The official scheduler had been moved on twice before the checkpoint was written.
    for n, step in enumerate(range(2, 6)):
        rate = 2e-4 * rate_factor(CleanUNetSchedule(name="cleanunet"), step, steps)
        torch.testing.assert_close(torch.tensor(rate), pack["resume.lr"][n], rtol=1e-5, atol=0)
        set_rate(optimiser, rate)
        outputs = model.training_outputs(batch)
        loss = waveform(outputs, batch) + stft(outputs, batch)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        torch.testing.assert_close(loss.detach(), pack["resume.loss"][n], rtol=1e-4, atol=0)
        torch.testing.assert_close(norm, pack["resume.grad_norm"][n], rtol=1e-3, atol=0)
        optimiser.step()


def _take_moments(
    optimiser: torch.optim.Optimizer, model: CleanUNet, names: list[str], state: dict[int, Any]
) -> None:
    """Give our optimiser the official moments; the official order of parameters is that of the state dict."""
    parameters = dict(model.named_parameters())
    for index, name in enumerate(names):
        optimiser.state[parameters[name]] = {k: v.clone() for k, v in state[index].items()}
