"""GTCRN equals the official network, whole and in a stream."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audiotool.dsp.erb import erb_filterbank
from audiotool.errors import CheckpointError
from audiotool.importers.base import import_checkpoint

PACK = Path(__file__).parents[1] / "data" / "parity" / "gtcrn"


@pytest.fixture(scope="module")
def model():
    return import_checkpoint(PACK / "model_trained_on_dns3.tar", "gtcrn")[0]


@pytest.fixture(scope="module")
def pack():
    return load_file(PACK / "io.safetensors")


def relative(estimate, reference):
    return ((estimate - reference).abs().max() / reference.square().mean().sqrt()).item()


def test_forward_equals_the_official_spec(model, pack):
    with torch.no_grad():
        assert relative(model(pack["spec"]), pack["enhanced_spec"]) < 1e-4


def test_process_equals_the_official_waveform(model, pack):
    with torch.no_grad():
        enhanced = model.process(pack["noisy"][:, None])[:, 0]
    assert relative(enhanced, pack["enhanced"]) < 1e-4


def test_published_parameter_count(model):
    assert model.parameter_count == 23_669


def test_filterbank_is_the_official_one(model):
    torch.testing.assert_close(erb_filterbank(65, 64, 512, 16000), model.erb_filters, atol=1e-6, rtol=0)


def test_weights_of_another_model_are_refused_with_their_keys(tmp_path):
    torch.save({"model": {"encoder.0.0.weight": torch.zeros(1)}}, tmp_path / "other.tar")
    with pytest.raises(CheckpointError, match=r"missing.*unexpected"):
        import_checkpoint(tmp_path / "other.tar", "gtcrn")
