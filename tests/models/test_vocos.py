"""Vocos equals the official decoders, from the official files; its causal variant keeps the contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from kit.learning import learn, mse
from kit.parity import relative_error
from kit.streams import stream
from safetensors.torch import load_file
from torch import Tensor

from audiotool.dsp.mel import mel_config
from audiotool.dsp.mel_spectrogram import filterbank_tensor
from audiotool.errors import CheckpointError, InputError
from audiotool.importers.base import import_checkpoint, recognise
from audiotool.models.base import Model
from audiotool.models.vocos import Vocos, VocosConfig
from audiotool.streaming.overlap_add import OverlapAddStreamer
from audiotool.streaming.streamer import CausalStreamer

PACKS = Path(__file__).parents[1] / "data" / "parity" / "vocos"
VARIANTS = ["mel_istft_center", "encodec_adanorm_same", "mel_imdct_cos", "mel_imdct_symexp", "mel_resnet"]
MEL = {"sample_rate": 8000, "n_fft": 64, "hop_length": 16, "n_mels": 6}
TINY = VocosConfig(mel=MEL, dim=16, intermediate_dim=24, num_layers=2, n_fft=64)


def official(variant: str) -> Model:
    pack = PACKS / variant
    return import_checkpoint(pack / "pytorch_model.bin", "vocos", pack / "config.yaml")[0]


@pytest.mark.parametrize("variant", VARIANTS)
def test_parity(variant: str) -> None:
    tensors = load_file(PACKS / variant / "io.safetensors")
    with torch.no_grad():
        found = official(variant)(tensors["features"], tensors.get("bandwidth_id"))[:, 0]
    assert relative_error(found, tensors["output"]) <= 1e-4


def test_lightning_files_are_read(tmp_path: Path) -> None:
    pack = PACKS / "mel_istft_center"
    tensors = torch.load(pack / "pytorch_model.bin", weights_only=True)
    more = {"multiperioddisc.emb.weight": torch.zeros(1, 4), "melspec_loss.window": torch.zeros(3)}
    torch.save({"epoch": 1, "state_dict": {**tensors, **more}}, tmp_path / "last.ckpt")
    parts = yaml.safe_load((pack / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"class_path": "X", "init_args": parts}}))
    model, metadata = import_checkpoint(tmp_path / "last.ckpt", "vocos", tmp_path / "config.yaml")
    expected = official("mel_istft_center").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert (metadata.sample_rate, model.config.mel) == (24000, "vocos-24k")


def test_importer_reads_the_mel_padding() -> None:
    assert official("mel_imdct_cos").mel.padding == "same"  # type: ignore[union-attr]
    assert official("mel_imdct_symexp").mel.padding == "center"  # type: ignore[union-attr]


def test_files_are_recognised() -> None:
    official_file = torch.load(PACKS / "mel_resnet" / "pytorch_model.bin", weights_only=True)
    assert recognise(official_file)[0] == "vocos"


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("head", {"class_path": "vocos.heads.WaveNextHead"}, "head is a WaveNextHead; audiotool reads"),
        ("backbone", {"class_path": "my.Transformer"}, "backbone is a Transformer; audiotool reads"),
        ("feature_extractor", {"class_path": "my.Dac"}, "feature_extractor is a Dac; audiotool reads"),
    ],
)
def test_unknown_parts_are_refused(
    tmp_path: Path, part: str, change: dict[str, object], message: str
) -> None:
    pack = PACKS / "mel_istft_center"
    values = yaml.safe_load((pack / "config.yaml").read_text())
    values[part] = {**values[part], **change}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(pack / "pytorch_model.bin", "vocos", tmp_path / "config.yaml")


def test_a_codecs_hop_is_the_heads(tmp_path: Path) -> None:
    pack = PACKS / "encodec_adanorm_same"
    values = yaml.safe_load((pack / "config.yaml").read_text())
    values["head"]["init_args"]["hop_length"] = 256
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    model = import_checkpoint(pack / "pytorch_model.bin", "vocos", tmp_path / "config.yaml")[0]
    io = load_file(pack / "io.safetensors")
    with torch.no_grad():
        found = model(io["features"], io["bandwidth_id"])[:, 0]
        hidden, _ = model.backbone(io["features"], io["bandwidth_id"].reshape(-1), None)  # type: ignore[operator]
        log_magnitude, phase = model.head.out(hidden).transpose(1, 2).chunk(2, dim=1)  # type: ignore[operator, union-attr]
        frames = torch.fft.irfft(torch.polar(log_magnitude.exp().clamp(max=100), phase), 1280, dim=1)
    window, length = torch.hann_window(1280), found.shape[-1]
    sums, weights = torch.zeros(2, len(found), length + 1024)
    for n in range(frames.shape[-1]):
        sums[:, 256 * n : 256 * n + 1280] += frames[..., n] * window
        weights[:, 256 * n : 256 * n + 1280] += window.square()
    expected = (sums / weights)[:, 512:-512]
    assert length == 256 * io["features"].shape[-1] == model.output_length(io["features"].shape[-1])
    assert relative_error(found, expected) <= 1e-4


@pytest.mark.parametrize(
    ("variant", "part", "change", "message"),
    [
        ("mel_istft_center", "head", {"hop_length": 320}, "head has hop_length 320, the mel 256"),
        ("mel_imdct_cos", "head", {"mdct_frame_len": 640}, "head has hop_length 320, the mel 256"),
        ("mel_imdct_cos", "head", {"clip_audio": True}, "clip_audio=True is not supported"),
        ("mel_istft_center", "head", {"hop": 256}, "unknown official options: hop"),
        ("mel_istft_center", "head", {"n_fft": 2048}, "frame is 2048"),
        ("mel_istft_center", "backbone", {"input_channels": 80}, "input_channels 80, the mel 100"),
        ("mel_istft_center", "feature_extractor", {"sample_rate": 22050}, "the mel it defines is not that"),
        ("mel_istft_center", "feature_extractor", {"f_max": 8000.0}, "the mel it defines is not that"),
    ],
)
def test_configurations_that_are_not_the_files_are_refused(
    tmp_path: Path, variant: str, part: str, change: dict[str, object], message: str
) -> None:
    pack = PACKS / variant
    official_file = torch.load(pack / "pytorch_model.bin", weights_only=True)
    official_file["head.istft.window"] = torch.hann_window(1024)
    bands = filterbank_tensor(mel_config("vocos-24k"))
    official_file["feature_extractor.mel_spec.mel_scale.fb"] = bands
    torch.save(official_file, tmp_path / "pytorch_model.bin")
    values = yaml.safe_load((pack / "config.yaml").read_text())
    values[part]["init_args"].update(change)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "pytorch_model.bin", "vocos", tmp_path / "config.yaml")


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    pack = PACKS / "encodec_adanorm_same"
    values = yaml.safe_load((pack / "config.yaml").read_text())
    values["feature_extractor"]["init_args"]["encodec_model"] = "encodec_16khz"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(CheckpointError, match="no codec is called 'encodec_16khz'"):
        import_checkpoint(pack / "pytorch_model.bin", "vocos", tmp_path / "config.yaml")


@pytest.mark.parametrize("number", range(4))
def test_a_codecs_bandwidth_is_chosen_at_import(number: int) -> None:
    pack = PACKS / "encodec_adanorm_same"
    files = (pack / "pytorch_model.bin", "vocos", pack / "config.yaml")
    chosen, _ = import_checkpoint(*files, {"bandwidth_id": number})
    plain, _ = import_checkpoint(*files)
    x = load_file(pack / "io.safetensors")["features"]
    with torch.no_grad():
        others = [plain(x, bandwidth_id=n) for n in range(4)]
        found = chosen.process(x)
    assert [torch.equal(found, other) for other in others] == [n == number for n in range(4)]


ENCODEC = {
    "mel": None,
    "input_channels": 128,
    "sample_rate": 24000,
    "hop_length": 320,
    "dim": 384,
    "intermediate_dim": 1152,
    "conditions": 4,
    "n_fft": 1280,
    "padding": "same",
}


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 13_531_650),
        (ENCODEC, 7_984_258),
        ({"head": "imdct-cos"}, 13_267_968),
        ({"backbone": "resnet", "num_layers": 3}, 14_859_778),
    ],
)
def test_published_sizes(values: dict[str, object], count: int) -> None:
    with torch.device("meta"):
        assert Vocos.from_config(values).parameter_count == count


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mel": None}, "give either mel, or input_channels, sample_rate and hop_length"),
        ({"input_channels": 128}, "give either mel, or input_channels, sample_rate and hop_length"),
        ({"head": "wavenext"}, "head: found 'wavenext', should be 'istft', 'imdct-cos' or"),
        ({"padding": "none"}, "padding: found 'none', should be 'center', 'same' or 'causal'"),
        ({"backbone": "resnet", "causal": True}, "resnet backbone is neither causal nor conditioned"),
        ({**ENCODEC, "bandwidth_id": 4}, "bandwidth_id 4 is not below conditions, 4"),
        ({"bandwidth_id": 1}, "bandwidth_id 1 is not below conditions, 0"),
    ],
)
def test_bad_configurations_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Vocos.from_config(values)


def tiny(**changes: object) -> Vocos:
    torch.manual_seed(0)
    return Vocos(VocosConfig(**{**TINY.__dict__, **changes})).double().eval()


def features(frames: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 6, frames, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def streamed(model: Model, mel: Tensor, chunk: int, block: int) -> Tensor:
    streamer = stream(model, chunk)
    assert isinstance(streamer.streamer, CausalStreamer if model.causal else OverlapAddStreamer)
    return streamer.process(mel, block)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("head", ["istft", "imdct-cos", "imdct-symexp"])
@pytest.mark.parametrize("padding", ["center", "same", "causal"])
def test_streamed_equals_whole(causal: bool, head: str, padding: str) -> None:
    model, mel = tiny(causal=causal, head=head, padding=padding), features(60)
    with torch.no_grad():
        whole = model(mel)
    assert whole.shape == (2, 1, 59 * 16 if padding == "center" else 960)
    for chunk, block in ((1, 1), (5, 7), (64, 13)):
        torch.testing.assert_close(streamed(model, mel, chunk, block), whole, rtol=0, atol=1e-9)


def test_resnet_streamed_equals_whole() -> None:
    model, mel = tiny(backbone="resnet"), features(120)
    with torch.no_grad():
        torch.testing.assert_close(streamed(model, mel, 9, 13), model(mel), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("padding", "latency"), [("same", (64 - 16) // 2), ("center", 64 // 2), ("causal", 64 - 16)]
)
def test_causal_latency_is_the_heads_alone_and_true(padding: str, latency: int) -> None:
    model = tiny(causal=True, padding=padding)
    assert model.latency == latency
    mel = features(40, batch=1).requires_grad_()
    y, hop = model(mel)[0, 0], model.upsampling
    lags = []
    for sample in range(20 * hop, 21 * hop):
        (grad,) = torch.autograd.grad(y[sample], mel, retain_graph=True)
        lags.append(int(grad.abs().sum((0, 1)).nonzero()[-1]) * hop - sample)
    # The first tap of a Hann window is zero, so the very first sample of a frame's reach does not need it.
    assert latency - 1 <= max(lags) <= latency


def test_a_non_causal_model_has_no_step() -> None:
    with pytest.raises(TypeError, match="looks ahead"):
        tiny().step(features(4))


def test_a_causal_step_checks_its_input() -> None:
    with pytest.raises(InputError, match=r"takes \(batch, 6, frames\)"):
        tiny(causal=True).step(torch.zeros(1, 5, 4, dtype=torch.double))


def test_bandwidth_conditions_a_codecs_features() -> None:
    model = tiny(mel=None, input_channels=6, sample_rate=8000, hop_length=16, conditions=3)
    assert model.mel is None
    with torch.no_grad():
        for norm in (model.backbone.norm, model.backbone.convnext[0].norm):
            norm.scale.weight[2] = 3.0
        same, other = model(features(9), 1), model(features(9), 2)
        torch.testing.assert_close(model(features(9)), same)
        assert (same - other).abs().max() > 1e-6
        mixed = model(features(9), torch.tensor([1, 2]))
    torch.testing.assert_close(mixed[0], same[0])
    torch.testing.assert_close(mixed[1], other[1])


@pytest.mark.parametrize("head", ["istft", "imdct-cos", "imdct-symexp"])
def test_huge_coefficients_are_limited_and_keep_a_finite_gradient(head: str) -> None:
    model = tiny(head=head)
    with torch.no_grad():
        model.head.out.bias.fill_(1e4)
    y = model(features(9))
    y.square().mean().backward()
    assert y.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"causal": True, "padding": "same"},
        {"head": "imdct-cos", "padding": "same"},
        {"head": "imdct-symexp"},
        {"backbone": "resnet"},
        {"mel": None, "input_channels": 6, "sample_rate": 8000, "hop_length": 16, "conditions": 3},
    ],
)
def test_one_step_lowers_the_loss(changes: dict[str, object]) -> None:
    model = tiny(**changes).float().train()
    batch = {"input": features(12).float(), "target": 0.3 * torch.randn(2, 1, 192)}
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    assert model.training_outputs(batch)["estimate"].shape == batch["target"].shape
    losses = learn(model, batch, mse, optimiser, 2)
    assert losses[1] < losses[0]
