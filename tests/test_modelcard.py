"""A card says what the metadata says, and says so where nothing is known."""

from __future__ import annotations

from pathlib import Path

from audiotool import named_checkpoints
from audiotool.checkpoint import Metadata
from audiotool.metrics.rows import Row
from audiotool.metrics.values import Value
from audiotool.model_facts import Facts
from audiotool.modelcard import card, means_of

FACTS = Facts("cleanunet", "Kong et al.", ("denoise",), 1234567, 16000, 160, True, ("speech",), 1)


def test_everything_known() -> None:
    metadata = Metadata(
        task="denoise",
        model={"name": "cleanunet", "config": {"stride": 2, "widths": [1, 2]}},
        sample_rate=16000,
        licence="CC-BY-4.0",
        sources=[{"name": "LJ Speech", "licence": "public domain"}, {"name": "a|b", "hours": 1.23456}],
        metrics={"noisy": {"pesq": 1.5}, "test": {"pesq": 2.12345, "stoi": 0.9}},
        commands=["audiotool evaluate --reference A --estimate B"],
        training={"steps": 1000, "hours": 2.5, "before": {"checkpoint": "tiny", "hours_of_audio": 3.25}},
        notes="Made for tests.",
        recipe={"name": "short"},
    )
    text = card(Path("small.safetensors"), metadata, FACTS, "abc123")
    assert "| parameters | 1,234,567 |" in text
    assert "| latency | 160 samples (10.0 ms) |" in text
    assert "| licence of the weights | CC-BY-4.0 |" in text
    assert "`abc123`" in text
    assert "| set | pesq | stoi |\n| --- | --- | --- |\n| noisy | 1.5 |  |\n| test | 2.123 | 0.9 |" in text
    assert "| LJ Speech | public domain |  |" in text
    assert "| a\\|b |  | 1.235 |" in text
    assert "- steps: 1000" in text
    assert "- before: checkpoint tiny, hours of audio 3.25" in text
    assert "\naudiotool denoise in.wav -o out.wav --checkpoint small.safetensors\n" in text
    assert "\naudiotool evaluate --reference A --estimate B\n" in text
    assert "\naudiotool train small.safetensors --set data.root=DATA\n" in text
    assert "- widths: 1, 2" in text
    assert "Made for tests." in text


def test_nothing_known() -> None:
    metadata = Metadata("denoise", {"name": "x", "config": {}}, 16000)
    text = card(Path("x.safetensors"), metadata, FACTS, "abc")
    assert "Not measured." in text
    assert "audiotool train" not in text
    assert "Not known: imported weights." in text
    assert "| licence of the weights | unknown |" in text


def test_names_are_one_word_of_a_command() -> None:
    recipe = {"name": "own"}
    metadata = Metadata("denoise", {"name": "x", "config": {}}, 16000, recipe=recipe)
    text = card(Path("my model.safetensors"), metadata, FACTS, "abc")
    assert "\naudiotool denoise in.wav -o out.wav --checkpoint 'my model.safetensors'\n" in text
    assert "\naudiotool train 'my model.safetensors' --set data.root=DATA\n" in text


def test_a_file_with_the_name_of_a_checkpoint_is_given_as_a_file() -> None:
    metadata = Metadata("denoise", {"name": "x", "config": {}}, 16000)
    bundled = named_checkpoints.bundled()["denoise-16k"]
    text = card(bundled, metadata, FACTS, "abc")
    assert "\naudiotool denoise in.wav -o out.wav --model denoise-16k\n" in text
    text = card(Path("elsewhere", bundled.name), metadata, FACTS, "abc")
    assert "\naudiotool denoise in.wav -o out.wav --checkpoint denoise-16k.safetensors\n" in text


def test_metadata_of_strangers_is_text() -> None:
    metadata = Metadata(
        task="denoise",
        model={"name": "x", "config": {"a": "<script>"}},
        sample_rate=16000,
        licence="MIT\n<script>|x|",
        sources=[{"name": "[x](javascript:alert)", "\x1b[2J": 1}],
        metrics={"# set": {"<b>": 1.0}},
        commands=["true\n```\n# heading", "echo ````"],
        training={"hours": "<i>\n# h"},
        notes="[x](javascript:alert(1))\n# heading\x1b[2J",
    )
    text = card(Path("x.safetensors"), metadata, FACTS, "abc")
    headings = ["Use", "Measured", "Training", "Data", "Configuration"]
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# x", *(f"## {name}" for name in headings)]
    assert "`````sh\ntrue ``` # heading\necho ````\n`````" in text
    for markup in ("<script>", "<b>", "<i>", "[x]("):
        assert markup not in text.replace("\\" + markup[0], "")
    assert text.replace("\n", "").isprintable()


def test_means_of_a_set_are_over_the_same_files() -> None:
    silent = Value(None, "the estimate is silent")
    rows = [
        Row("hard", {"pesq": silent, "stoi": Value(0.1)}, {"pesq": Value(1.0), "stoi": Value(0.5)}),
        Row("easy", {"pesq": Value(3.0), "stoi": Value(0.9)}, {"pesq": Value(3.0), "stoi": Value(0.9)}),
    ]
    metrics = ("pesq", "stoi", "si_sdr")
    expected = {"pesq": 3.0, "stoi": 0.9}
    assert means_of(rows, metrics, "test") == {"test, 1 of 2 files": expected, "test, input": expected}
    assert means_of(rows[1:], metrics, "test") == {"test, 1 files": expected, "test, input": expected}
    assert means_of([Row("x", {"pesq": silent})], metrics, "test") == {}


def test_latencies_of_models_that_look_ahead() -> None:
    metadata = Metadata("denoise", {"name": "x"}, 16000)
    bounded = Facts("x", "", ("denoise",), 1, 16000, 1600, False, ("speech",), 1)
    unbounded = Facts("x", "", ("denoise",), 1, 16000, None, False, ("speech",), 1)
    assert "1600 samples (100.0 ms) of look-ahead, and a segment" in card(
        Path("x.safetensors"), metadata, bounded, ""
    )
    assert "looks ahead without bound" in card(Path("x.safetensors"), metadata, unbounded, "")
