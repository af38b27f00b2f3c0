"""Weight normalisation: used in training, folded into plain weights for inference.

weight = g * v / ||v||, the norm over every axis but the first. Official files name the pair `weight_g` and
`weight_v`; torch's parametrisation names it `parametrizations.weight.original0` and `.original1`.

Salimans, Kingma: Weight Normalization, NeurIPS 2016, arXiv:1602.07868.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from audiotool import compat

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_PAIRS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
"""Names of (g, v) in state dicts: those of the older hook and of the parametrisation."""

_NORMALISED = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)


def weight_norm(layer: ModuleT) -> ModuleT:
    """Normalise the weight of one layer; its output does not change."""
    return parametrizations.weight_norm(layer)


def normalise_weights(module: nn.Module) -> None:
    """Normalise the weight of every convolution and linear layer in `module` that has no weight norm yet."""
    for layer in list(module.modules()):
        if isinstance(layer, _NORMALISED) and not parametrize.is_parametrized(layer, "weight"):
            weight_norm(layer)


def fold(module: ModuleT) -> ModuleT:
    """Replace every normalised weight in `module` by its product, in place; outputs do not change."""
    for layer in list(module.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return module


def fold_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with each (g, v) pair folded to its "weight", in float32; other tensors are
    unchanged.

    A state dict without weight norm is returned unchanged.
    """
    folded = dict(tensors)
    for g_name, v_name in _PAIRS:
        for key in [k for k in folded if k == g_name or k.endswith(f".{g_name}")]:
            prefix = key[: -len(g_name)]
            if f"{prefix}{v_name}" in folded:
                folded[f"{prefix}weight"] = _product(folded.pop(key), folded.pop(f"{prefix}{v_name}"))
    return folded


def fitted_weights(tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict with weights folded or normalised as in `like`; outputs do not change."""
    if tensors.keys() == like.keys():
        return dict(tensors)
    fitted = fold_weights(tensors)
    g_name, v_name = _PAIRS[1]
    for key in [k for k in like if k == g_name or k.endswith(f".{g_name}")]:
        prefix = key[: -len(g_name)]
        if f"{prefix}weight" in fitted:
            weight = fitted.pop(f"{prefix}weight")
            fitted[key] = torch.norm_except_dim(weight, 2, 0)
            fitted[f"{prefix}{v_name}"] = weight
    return fitted


def _product(g: Tensor, v: Tensor) -> Tensor:
    # In half precision the norm would be rounded, too.
    return compat.weight_norm(v.float(), g.float(), 0)
