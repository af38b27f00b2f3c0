"""The loss that the docs add is one module: a recipe names it, with its options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from kit.docs import ROOT

import audiotool.losses
from audiotool.losses.base import make_loss
from audiotool.recipe.schema import LossTerm


def test_log_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8").partition("\n## A loss\n")[2]
    code, recipe = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    assert code is not None
    assert recipe is not None
    (tmp_path / "log_energy.py").write_text(code[1], encoding="utf-8")
    monkeypatch.setattr(audiotool.losses, "__path__", [*audiotool.losses.__path__, str(tmp_path)])
    (term,) = (LossTerm.model_validate(values) for values in yaml.safe_load(recipe[1])["loss"])
    loss = make_loss(term.name, term.options, 16000)
    assert loss.floor == term.options["floor"] == 1e-4
    estimate = torch.full((2, 1, 100), 0.2, requires_grad=True)
    value = loss({"estimate": estimate}, {"target": torch.full((2, 1, 100), 0.1)})
    # ln((0.04 + 1e-4) / (0.01 + 1e-4))
    assert value.item() == pytest.approx(1.379, abs=1e-3)
    value.backward()
    assert estimate.grad is not None
    assert estimate.grad.abs().min() > 0
