"""The discriminator that the docs add is one module: a recipe names it, with its configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from kit.docs import ROOT

import audiotool.models.discriminators
from audiotool.recipe.schema import AdversarialSection
from audiotool.training.adversary import Discriminators


def test_single_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "extend" / "add.md").read_text(encoding="utf-8")
    text = page.partition("\n## A discriminator\n")[2]
    code, recipe = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL) for kind in ("python", "yaml"))
    assert code is not None
    assert recipe is not None
    (tmp_path / "single_scale.py").write_text(code[1], encoding="utf-8")
    path = [*audiotool.models.discriminators.__path__, str(tmp_path)]
    monkeypatch.setattr(audiotool.models.discriminators, "__path__", path)
    section = AdversarialSection.model_validate(yaml.safe_load(recipe[1])["adversarial"])
    discriminators = Discriminators(section)
    assert discriminators.discriminators[0].get_submodule("logits").in_channels == 8
    estimate = torch.randn(2, 1, 640, requires_grad=True)
    target = torch.randn(2, 1, 640)
    discriminators({"estimate": estimate.detach()}, target).backward()
    terms = discriminators.generator_terms({"estimate": estimate}, target)
    assert list(terms) == ["adversarial", "feature-matching"]
    torch.stack(list(terms.values())).sum().backward()
    assert estimate.grad is not None
    assert estimate.grad.abs().max() > 0
