"""Public corpora as they unpack, in miniature; and what is said when something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from kit.tones import dataset, tone

from audiotool.data.corpora.base import CORPORA
from audiotool.data.manifest import write_manifest
from audiotool.data.scan import Scan
from audiotool.errors import InputError


def wav(path: Path, seconds: float = 0.5, sample_rate: int = 16000, pitch: float = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(pitch, seconds, sample_rate), sample_rate)
    return path


def prepare(name: str, folder: Path, part: str | None = None) -> Scan:
    corpus = CORPORA.get(name)()
    return corpus.prepare(folder, part or (corpus.parts or ("",))[0], None)


@pytest.fixture
def voicebank(tmp_path: Path) -> Path:
    for part, speakers in (("trainset_28spk", ("p226", "p227", "p287")), ("testset", ("p232",))):
        for speaker in speakers:
            for n in range(2):
                for side in ("clean", "noisy"):
                    wav(tmp_path / f"{side}_{part}_wav" / f"{speaker}_00{n}.wav", 0.5 + 0.1 * n, 48000)
    return tmp_path


def test_voicebank(voicebank: Path) -> None:
    found = prepare("voicebank", voicebank)
    assert len(found.entries) == 8
    assert not found.notes
    splits = {e.group: e.split for e in found.entries}
    assert splits == {"p226": "valid", "p227": "train", "p287": "valid", "p232": "test"}
    for entry in found.entries:
        assert entry.path.parent.name.startswith("noisy")
        assert entry.targets == (Path(str(entry.path).replace("noisy", "clean")),)
        assert entry.licence == "CC-BY-4.0"
    manifest = voicebank / "manifest.csv"
    write_manifest(manifest, found.entries)
    example, facts = dataset(manifest, speech=[], noise=[], pairs=[manifest], split="test").with_facts(0)
    assert facts["speech"] == "p232"
    assert np.abs(example["input"] - example["target"]).max() < 1e-3


def test_voicebank_without_its_test_set(voicebank: Path) -> None:
    for file in [*voicebank.glob("*_testset_wav/*")]:
        file.unlink()
    for side in ("clean", "noisy"):
        (voicebank / f"{side}_testset_wav").rmdir()
    found = prepare("voicebank", voicebank)
    assert {e.split for e in found.entries} == {"train", "valid"}
    assert found.notes == ["noisy_testset_wav and clean_testset_wav are not there"]
    with pytest.raises(InputError, match="noisy_trainset_56spk_wav"):
        prepare("voicebank", voicebank, "56spk")


def test_two_of_voicebanks_56_speakers_are_held_back(tmp_path: Path) -> None:
    speakers = [f"p{300 + n}" for n in range(56)]
    for speaker in speakers:
        for side in ("clean", "noisy"):
            wav(tmp_path / f"{side}_trainset_56spk_wav" / f"{speaker}_001.wav", 0.1, 48000)
    found = prepare("voicebank", tmp_path, "56spk")
    held = sorted(e.group for e in found.entries if e.split == "valid")
    assert len(held) == 2
    assert {e.group for e in found.entries if e.split == "train"} == {*speakers} - {*held}
    assert found.notes[0] == "p226 and p287 are not there: valid has " + ", ".join(held)


def test_pairs_must_match(voicebank: Path) -> None:
    clean = voicebank / "clean_trainset_28spk_wav"
    wav(clean / "p227_000.wav", 0.7, 48000)
    with pytest.raises(InputError, match=r"lasts 0\.500 s, its partner .*p227_000\.wav 0\.700 s"):
        prepare("voicebank", voicebank)
    wav(clean / "p227_000.wav", 0.5, 16000)
    with pytest.raises(InputError, match=r"48000 Hz, its partner .* 16000 Hz"):
        prepare("voicebank", voicebank)
    (clean / "p227_000.wav").unlink()
    with pytest.raises(InputError, match=r"noisy.*p227_000\.wav has no readable partner"):
        prepare("voicebank", voicebank)
    wav(clean / "p227_000.wav", 0.5, 48000)
    (voicebank / "noisy_trainset_28spk_wav" / "p226_001.wav").unlink()
    with pytest.raises(InputError, match=r"clean.*p226_001\.wav has no readable partner .*1 such"):
        prepare("voicebank", voicebank)


def test_librimix(tmp_path: Path) -> None:
    root = tmp_path / "Libri2Mix" / "wav16k" / "min"
    for split in ("train-100", "dev"):
        for name in ("103-1240-0003_1235-135887-0017.wav", "4014-186175-0010_8629-261139-0004.wav"):
            for n, place in enumerate(("mix_clean", "s1", "s2", "noise")):
                wav(root / split / place / name, pitch=200 + 50 * n)
    found = prepare("librimix", tmp_path)
    assert sorted((e.split, e.group) for e in found.entries) == [
        ("train", "103+1235"),
        ("train", "4014+8629"),
        ("valid", "103+1235"),
        ("valid", "4014+8629"),
    ]
    assert [t.parent.name for t in found.entries[0].targets] == ["s1", "s2"]
    assert any("test" in note for note in found.notes)
    manifest = tmp_path / "m.csv"
    write_manifest(manifest, found.entries)
    assert dataset(manifest, "mixture", speech=[], noise=[], pairs=[manifest])[0]["target"].shape == (
        2,
        24000,
    )
    with pytest.raises(InputError, match="mix_both"):
        prepare("librimix", tmp_path, "mix_both")
    wav(tmp_path / "Libri2Mix" / "wav8k" / "max" / "dev" / "mix_clean" / "1_2.wav")
    with pytest.raises(InputError, match="holds 2 variants"):
        prepare("librimix", tmp_path)


def test_ljspeech(tmp_path: Path) -> None:
    for n in range(30):
        wav(tmp_path / "LJSpeech-1.1" / "wavs" / f"LJ001-{n:04d}.wav", 0.2, 22050)
    found = prepare("ljspeech", tmp_path)
    assert len(found.entries) == 30
    assert {e.split for e in found.entries} == {"train", "valid", "test"}
    assert {(e.group, e.licence) for e in found.entries} == {("lj", "public-domain")}
    assert found.notes == ["30 of 13100 files are there"]


def test_vctk(tmp_path: Path) -> None:
    for speaker in ("p225", "p226", "p227", "s5"):
        for mic in ("mic1", "mic2"):
            wav(tmp_path / "wav48_silence_trimmed" / speaker / f"{speaker}_001_{mic}.flac", 0.2, 48000)
    found = prepare("vctk", tmp_path)
    assert [e.path.name for e in found.entries] == [
        f"{s}_001_mic1.flac" for s in ("p225", "p226", "p227", "s5")
    ]
    assert {e.group for e in found.entries} == {"p225", "p226", "p227", "s5"}
    assert {e.path.stem[-4:] for e in prepare("vctk", tmp_path, "mic2").entries} == {"mic2"}


def test_dns(tmp_path: Path) -> None:
    root = tmp_path / "datasets_fullband"
    for reader in ("00103", "00204", "11564"):
        wav(root / "clean_fullband" / "read_speech" / f"book_1_chp_2_reader_{reader}_3_abc.wav")
    wav(root / "clean_fullband" / "vctk_wav48" / "p225_001.wav")
    for take in ("arpeggios/belt/f1.wav", "scales/f1.wav"):
        wav(root / "clean_fullband" / "VocalSet_48kHz_mono" / "female1" / take)
    wav(root / "noise_fullband" / "door.wav")
    found = prepare("dns", tmp_path)
    assert {e.group for e in found.entries if e.kind == "speech"} == {
        "reader-00103",
        "reader-00204",
        "reader-11564",
        "p225",
        "VocalSet_48kHz_mono/female1",
    }
    assert [e.path.name for e in found.entries if e.kind == "noise"] == ["door.wav"]
    assert found.notes == ["impulse_responses is not there: no rir"]


@pytest.mark.parametrize("name", sorted(CORPORA.all()))
def test_an_empty_folder_says_what_is_missing(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} needs .* expected: "):
        prepare(name, tmp_path)


def test_unknown_corpus() -> None:
    with pytest.raises(InputError, match="did you mean 'voicebank'"):
        CORPORA.get("voicebnk")
