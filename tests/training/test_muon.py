"""Muon: matrices move along orthogonal directions, everything else as AdamW moves it."""

import copy

import pytest
import torch
from torch import nn

from audiotool.models.layers.recurrent import GRU
from audiotool.models.layers.weight_norm import weight_norm
from audiotool.training import muon
from audiotool.training.muon import Muon, orthogonal


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.gru = GRU(4, 4)
        self.conv = nn.Conv1d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.gru(self.linear(x))
        return self.conv(y.permute(1, 2, 0))


def train(module: nn.Module, optimiser: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, steps):
        torch.manual_seed(step)
        module(torch.randn(9, 2, 6)).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


def test_singular_values_come_near_one() -> None:
    torch.manual_seed(0)
    for shape in ((8, 8), (3, 20, 5), (40, 10)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.4
        assert values.max() < 1.3


def test_every_gate_is_a_matrix_and_takes_a_step_of_the_rates_size() -> None:
    torch.manual_seed(0)
    module = Mixed()
    before = copy.deepcopy(module)
    train(module, Muon(module, lr=0.01, weight_decay=0.0), 1)
    for gate in (module.gru.weight_hh_l0 - before.gru.weight_hh_l0).detach().unflatten(0, (3, 4)):
        # An orthogonal matrix of four rows and columns has root mean square 1/2.
        assert gate.square().mean().sqrt() == pytest.approx(0.01 * 0.2, rel=0.35)


def test_vectors_and_convolutions_move_as_adamw_moves_them() -> None:
    torch.manual_seed(0)
    module = Mixed()
    other = copy.deepcopy(module)
    train(module, Muon(module, lr=0.01), 1)
    train(other, torch.optim.AdamW(other.parameters(), lr=0.01), 1)
    assert torch.equal(module.conv.weight, other.conv.weight)
    assert torch.equal(module.linear.bias, other.linear.bias)
    assert not torch.equal(module.linear.weight, other.linear.weight)


class Thin(Mixed):
    """With what looks like matrices: a bias with three axes, and the parts of a normalised weight."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(2, 1, 6))
        self.column = nn.Parameter(torch.ones(4, 1))
        self.conv = weight_norm(self.conv)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.bias[0]) * self.column


def test_what_has_the_axes_of_matrices_alone_moves_as_adamw_moves_it() -> None:
    torch.manual_seed(0)
    module = Thin()
    other = copy.deepcopy(module)
    train(module, Muon(module, lr=0.01), 1)
    train(other, torch.optim.AdamW(other.parameters(), lr=0.01), 1)
    moved = dict(other.named_parameters())
    alike = {name for name, p in module.named_parameters() if torch.equal(p, moved[name])}
    weights = {"parametrizations.weight.original0", "parametrizations.weight.original1", "bias"}
    biases = {"linear.bias", "gru.bias_ih_l0", "gru.bias_hh_l0"}
    assert alike == {"bias", "column"} | {f"conv.{name}" for name in weights} | biases


def test_a_state_of_before_goes_on_as_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    whole = Thin()
    halves = copy.deepcopy(whole)
    with monkeypatch.context() as patched:
        patched.setattr(muon, "_matrices", muon._former_matrices)
        train(whole, Muon(whole, lr=0.01), 4)
        first = Muon(halves, lr=0.01)
        train(halves, first, 2)
    second = Muon(halves, lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(halves, second, 4, first=2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters(), strict=True))


def test_a_saved_state_goes_on_exactly() -> None:
    torch.manual_seed(0)
    whole = Mixed()
    halves = copy.deepcopy(whole)
    train(whole, Muon(whole, lr=0.01), 6)
    first = Muon(halves, lr=0.01)
    train(halves, first, 3)
    second = Muon(halves, lr=0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(halves, second, 6, first=3)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), halves.parameters(), strict=True))
