from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from audiotool.models.layers.weight_norm import fitted_weights, fold, fold_weights, normalise_weights


def network() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(3, 4, 3), nn.ConvTranspose1d(4, 2, 4, 2), nn.Conv1d(2, 1, 1, bias=False))


def test_folding_a_module_keeps_its_output() -> None:
    module, x = network(), torch.randn(2, 3, 9)
    normalise_weights(module)
    with torch.no_grad():
        module[1].parametrizations.weight.original0.mul_(1.7)
    expected = module(x)
    assert "0.parametrizations.weight.original0" in module.state_dict()
    fold(module)
    assert set(module.state_dict()) == set(network().state_dict())
    torch.testing.assert_close(module(x), expected)


def test_normalising_twice_adds_nothing() -> None:
    module = network()
    normalise_weights(module)
    names = set(module.state_dict())
    normalise_weights(module)
    assert set(module.state_dict()) == names


@pytest.mark.parametrize("style", ["hook", "parametrisation"])
def test_folded_tensors_fit_a_plain_network(style: str) -> None:
    module, x = network(), torch.randn(2, 3, 9)
    if style == "hook":
        for layer in module:
            nn.utils.weight_norm(layer)
            layer.weight_g.data.mul_(0.5)
        assert "0.weight_g" in module.state_dict()
    else:
        normalise_weights(module)
    expected = module(x)
    plain = network()
    plain.load_state_dict(fold_weights(module.state_dict()))
    torch.testing.assert_close(plain(x), expected)


def test_plain_tensors_pass_unchanged() -> None:
    tensors = network().state_dict()
    folded = fold_weights(tensors)
    assert folded.keys() == tensors.keys()
    assert all(folded[k] is tensors[k] for k in tensors)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_pairs_of_another_precision_are_folded_in_float32(kind: torch.dtype) -> None:
    module = network()
    normalise_weights(module)
    with torch.no_grad():
        module[0].parametrizations.weight.original0.mul_(1.7)
    stored = {key: value.to(kind) for key, value in module.state_dict().items()}
    folded = fold_weights(stored)
    expected = fold_weights({key: value.float() for key, value in stored.items()})
    assert folded["0.weight"].dtype == torch.float32
    torch.testing.assert_close(folded["0.weight"], expected["0.weight"], rtol=0, atol=0)


def test_tensors_are_fitted_to_a_network_of_the_other_kind() -> None:
    plain, normalised, x = network(), network(), torch.randn(2, 3, 9)
    normalise_weights(normalised)
    with torch.no_grad():
        normalised[0].parametrizations.weight.original0.mul_(1.7)
    expected = normalised(x)
    tensors = normalised.state_dict()
    assert fitted_weights(tensors, tensors).keys() == tensors.keys()
    folded = fitted_weights(tensors, plain.state_dict())
    plain.load_state_dict(folded)
    torch.testing.assert_close(plain(x), expected)
    second = network()
    normalise_weights(second)
    second.load_state_dict(fitted_weights(folded, second.state_dict()))
    torch.testing.assert_close(second(x), expected)
