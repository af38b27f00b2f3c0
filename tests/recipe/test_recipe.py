"""Recipes: what is refused, with which words; overrides; every shipped one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from kit.plugin import install_plugin

from audiotool import checkpoint, named_checkpoints, recipe
from audiotool.configuration import build_config, constructor_options
from audiotool.data.config import AudioConfig, Section
from audiotool.discovery import Catalogue, is_subclass
from audiotool.errors import RecipeError
from audiotool.losses.base import LOSSES, Loss, make_loss
from audiotool.models.discriminators.base import DISCRIMINATORS
from audiotool.models.registry import MODELS
from audiotool.training.adversary import build_discriminator
from audiotool.value_types import argument_problems

MINIMAL: dict[str, Any] = {
    "task": "denoise",
    "model": {"name": "cleanunet"},
    "audio": {"sample_rate": 16000},
    "data": {"speech": ["manifest.csv"], "noise": ["manifest.csv"]},
    "loss": [{"name": "l1-waveform"}],
}


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", list(recipe.shipped()))
def test_shipped_recipes_are_valid(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.task.replace("-", "_") == recipe.find(name).parent.name
    model_class = MODELS.get(loaded.model.name)
    build_config(model_class.config_class, loaded.model.config, loaded.model.name)
    for term in loaded.adversarial.discriminators if loaded.adversarial else []:
        build_discriminator(term.model_copy(update={"config": term.config}))
    # The recipe in a checkpoint can be trained again.
    assert recipe.parse(loaded.plain(), "again") == loaded


def test_the_recipe_of_a_checkpoint(tmp_path: Path) -> None:
    """Its name is that of a bundled recipe with other values, as a copy's may be."""
    trained = recipe.parse({"name": "denoise", **MINIMAL}, "denoise", ["train.steps=12", "train.clip=0.5"])
    model = {"name": "cleanunet", "config": {}}
    made = checkpoint.Metadata("denoise", model, 16000, recipe=trained.plain())
    checkpoint.save(tmp_path / "own.safetensors", {}, made)
    assert recipe.load(tmp_path / "own.safetensors").plain() == made.recipe
    made.recipe = None
    checkpoint.save(tmp_path / "own.safetensors", {}, made)
    with pytest.raises(RecipeError, match=r"own\.safetensors: holds no recipe: its weights were imported"):
        recipe.load(tmp_path / "own.safetensors")


@pytest.mark.parametrize("name", list(named_checkpoints.bundled()))
def test_the_recipes_of_bundled_checkpoints_can_be_trained(name: str) -> None:
    assert (
        recipe.load(f"{name}.safetensors").task
        == checkpoint.read_metadata(named_checkpoints.resolve(name)).task
    )


def test_every_key_is_explained() -> None:
    sections: list[type[Section]] = [recipe.Recipe]

    def find_sections(annotation: Any) -> None:
        if is_subclass(annotation, Section) and annotation not in sections:
            sections.append(annotation)
        for part in get_args(annotation):
            find_sections(part)

    for section in sections:
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            find_sections(field.annotation)
    assert len(sections) > 30


def test_published_cleanunet_recipes() -> None:
    full, high = recipe.load("cleanunet"), recipe.load("cleanunet-high")
    assert MODELS.get("cleanunet").from_config(full.model.config).parameter_count == 46_071_937
    assert full.loss[1].options["band"] == "full"
    assert high.loss[1].options["band"] == "high-published"
    same = {"name", "description", "loss"}
    assert full.model_dump(exclude=same) == high.model_dump(exclude=same)


def test_name_is_the_files(tmp_path: Path) -> None:
    assert recipe.load(written(tmp_path, yaml.safe_dump(MINIMAL))).name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lss": []}, r"mine: lss: unknown key; did you mean 'loss'\? Allowed: .*adversarial"),
        (
            {"extends": "denoise"},
            r"extends: unknown key; .*`audiotool recipes show NAME > own\.yaml`\. Allowed: ",
        ),
        ({"train": {"bach_size": 2}}, r"train\.bach_size: unknown key; did you mean 'batch_size'\?"),
        ({"train": {"batch_size": 0}}, r"train\.batch_size: found 0, should be greater than or equal to 1"),
        ({"train": {"steps": "many"}}, r"train\.steps: found 'many', should be a valid integer"),
        ({"optimiser": {"name": "adam", "rate": 1}}, r"optimiser\.rate: unknown key.* Allowed: betas, eps"),
        (
            {"optimiser": {"lr": 1}},
            r"optimiser: found .*its name is missing\. Allowed: adam, adamw, muon, radam",
        ),
        ({"optimiser": {"name": "sgd"}}, r"optimiser: found .*'adam'.*'adamw'.*'radam'"),
        ({"schedule": {"name": "cosine", "warm": 1}}, r"schedule\.warm: unknown key.*warmup_steps"),
        ({"loss": []}, r"loss: found \[\], .*at least 1 item"),
        ({"loss": [{"name": "mel", "wieght": 2}]}, r"loss\.0\.wieght: unknown key; did you mean 'weight'"),
        ({"loss": [{"name": "l1-wavefrm"}]}, r"loss\.0: no loss is called 'l1-wavefrm'; did you mean 'l1-"),
        (
            {"loss": [{"name": "si-sdr", "options": {"zeromean": True}}]},
            r"loss\.0: si-sdr: unknown option 'zeromean'; did you mean 'zero_mean'\?",
        ),
        (
            {"loss": [{"name": "multi-resolution-stft", "options": {"band": "low"}}]},
            r"loss\.0: multi-resolution-stft: band: found 'low', should be 'full', ",
        ),
        ({"task": "denoize"}, r"task: no task is called 'denoize'; did you mean 'denoise'\?"),
        (
            {"data": {"example": "noisey"}},
            r"data\.example: no kind of example .* 'noisey'; did you mean 'noisy'",
        ),
        ({"task": "vocode"}, r"model\.name: cleanunet serves denoise.*, not vocode"),
        ({"model": {"name": "cleanunett"}}, r"model\.name: no model is called 'cleanunett'; did you mean"),
        (
            {"model": {"name": "cleanunet", "config": {"kernel": 3}}},
            r"model\.config\.kernel: unknown key; did you mean 'kernel_size'\?",
        ),
        (
            {"model": {"name": "cleanunet", "config": {"kernel_size": "four"}}},
            r"model\.config\.kernel_size: found 'four'",
        ),
        (
            {"model": {"name": "cleanunet", "config": {"n_layers": 10**9}}},
            r"model\.config\.n_layers: found 1000000000, should be less than or equal to 256",
        ),
        (
            {"adversarial": {"discriminators": [{"name": "mpd"}]}},
            r"adversarial\.discriminators\.0\.name: no discriminator is called 'mpd'",
        ),
        (
            {"adversarial": {"discriminators": [{"name": "melgan", "config": {"channels": "4"}}]}},
            r"adversarial\.discriminators\.0: melgan: channels: found '4', should be a valid integer",
        ),
        (
            {"adversarial": {"discriminators": [{"name": "melgan", "config": {"kernel_sizes": [5, 3.0]}}]}},
            r"melgan: kernel_sizes\.1: found 3\.0, should be a valid integer",
        ),
        (
            {"adversarial": {"discriminators": [{"name": "multi-period", "config": {"periods": ["2"]}}]}},
            r"multi-period: periods\.0: found '2', should be a valid integer",
        ),
        (
            {"adversarial": {"discriminators": [{"name": "melgan", "config": {"channel": 4}}]}},
            r"adversarial\.discriminators\.0: melgan: unknown option 'channel'; did you mean 'channels'",
        ),
        ({"validation": {"metrics": ["pesk"]}}, r"validation\.metrics\.0: no metric is called 'pesk'"),
        ({"validation": {"metrics": ["mapss"]}}, r"validation\.metrics\.0: 'mapss_pm' rates all stems"),
        ({"validation": {"metric": "pesq_nb"}}, r"validation\.metric: found 'pesq_nb', which"),
        ({"validation": {"metrics": ["loudness"], "metric": "loudness"}}, r"metric: 'loudness' chooses no"),
        (
            {"audio": {"segment_seconds": None}},
            r"train\.batch_size: found 16, should be 1 where audio\.segment_seconds is null",
        ),
        ({"audio": {"segment_seconds": float("inf")}}, r"audio\.segment_seconds: found inf, .*finite"),
        ({"audio": {"segment_seconds": 1e-9}}, r"audio\.segment_seconds: found 1e-09, .*equal to 0\.01"),
        ({"audio": {"segment_seconds": 1e12}}, r"audio\.segment_seconds: found 10*\.0, .*equal to 3600"),
        ({"validation": {"seconds": 1e12}}, r"validation\.seconds: found 10*\.0, .*equal to 3600"),
        ({"train": {"seed": 10**23}}, r"train\.seed: found 10*, should be less than"),
        ({"train": {"batch_size": True}}, r"train\.batch_size: found True, should be a valid integer"),
        ({"train": {"steps": "100"}}, r"train\.steps: found '100', should be a valid integer"),
        ({"train": {"steps": 1e5}}, r"train\.steps: found 100000\.0, should be a valid integer"),
        ({"train": {"clip": True}}, r"train\.clip: found True, should be a valid number"),
        ({"optimiser": {"name": "adam", "betas": [0.9, "1"]}}, r"betas\.1: found '1', .* valid number"),
        ({"data": {"mixing": {"snr_db": ["0", 5]}}}, r"mixing\.snr_db\.0: found '0', .* valid number"),
        ({"loss": [{"name": "mel", "weight": "2"}]}, r"loss\.0\.weight: found '2', .* valid number"),
        ({"logging": {"tensorboard": "no"}}, r"logging\.tensorboard: found 'no', .* valid boolean"),
        (
            {"model": {"name": "cleanunet", "config": {"kernel_size": "4"}}},
            r"model\.config\.kernel_size: found '4', should be a valid integer",
        ),
        (
            {"model": {"name": "cleanunet", "config": {"kernel_size": 4.0}}},
            r"model\.config\.kernel_size: found 4\.0, should be a valid integer",
        ),
        (
            {"data": {"mixing": {"snr_db": [float("nan"), 5]}}},
            r"mixing\.snr_db\.0: found nan, .*finite",
        ),
        ({"data": {"mixing": {"snr_db": [0, 1e300]}}}, r"data\.mixing\.snr_db\.1: found 1e\+300, .*to 200"),
        ({"data": {"mixing": {"noises": [True, 2]}}}, r"data\.mixing\.noises\.0: found True, .*integer"),
        (
            {"data": {"augmentation": {"speed": [float("inf"), float("inf")]}}},
            r"data\.augmentation\.speed\.0: found inf, should be a finite number",
        ),
        (
            {"data": {"augmentation": {"speed": [1e-9, 1]}}},
            r"data\.augmentation\.speed\.0: found 1e-09, .* to 0\.1",
        ),
        ({"data": {"evaluation": None}}, r"data\.evaluation: found None, should be a valid dictionary$"),
        ({"optimiser": 3}, r"optimiser: found 3, should be a valid dictionary$"),
        (
            {"loss": [{"name": "mel", "options": {"mel": "hifigan-22k"}}]},
            r"loss\.0: mel: the mel is defined at 22050 Hz, audio\.sample_rate is 16000 Hz",
        ),
        *(
            (
                {"loss": [{"name": name, "options": {"sample_rate": 24000}}]},
                rf"loss\.0: {name}: sample_rate is 24000 Hz, audio\.sample_rate 16000 Hz: leave it out",
            )
            for name in ("multi-scale-mel", "permutation-invariant")
        ),
        *(
            ({"data": {section: {key: value}}}, rf"data\.{section}\.{key}\.{place}: found {found}, .*{limit}")
            for section, key, value, place, found, limit in [
                ("mixture", "overlap", [60, 100], 0, 60, "less than or equal to 1"),
                ("mixture", "overlap", [-5, 0], 0, -5, "greater than or equal to 0"),
                ("mixing", "lead_in_db", [-60, 0], 0, -60, "greater than or equal to 0"),
                ("mixing", "level_dbfs", [-10, 10], 1, 10, "less than or equal to 0"),
                ("augmentation", "clipping_db", [-20, -10], 0, -20, "greater than or equal to 0"),
                ("augmentation", "low_pass_hz", [0.001, 0.001], 0, "0.001", "greater than or equal to 20"),
                ("narrow_band", "roll_off", [1, 5], 1, 5, "less than or equal to 1"),
                ("narrow_band", "bandwidth_hz", [0.2, 4000], 0, "0.2", "greater than or equal to 20"),
                ("array", "rt60_seconds", [0.2, 1e5], 1, "100000.0", "less than or equal to 20"),
            ]
        ),
        *(
            ({"data": {"augmentation": edges}}, rf"augmentation\.high_pass_hz: found {found}, .*{limit}")
            for edges, found, limit in [
                ({"high_pass_hz": [5000, 9000]}, 9000, r"the 3000 at which low_pass_hz .*\(8000\)"),
                ({"high_pass_hz": [50, 8000], "low_pass_hz": [9000, 9000]}, 8000, r"half of .*\(8000\)"),
                ({"high_pass_hz": [50, 300], "low_pass_hz": [300, 7000]}, 300, "the 300 at"),
            ]
        ),
        ({"data": {"speech_minimum_rate": -5}}, r"data\.speech_minimum_rate: found -5, .*or equal to 0"),
        ({"data": {"speach": []}}, r"data\.speach: unknown key; did you mean 'speech'\?"),
    ],
)
def test_refusals_name_the_key_and_the_allowed_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.parse({"name": "mine"} | MINIMAL | change, "mine")


def test_a_validation_of_mels_has_no_other_signals() -> None:
    with pytest.raises(RecipeError, match=r"validation\.metrics\.1: 'si_sir' needs the other signals"):
        recipe.load("vocode-24k", ["validation.metrics=[pesq,si_sir]"])
    assert recipe.load("denoise", ["validation.metrics=[pesq,si_sir,dnsmos]"]).validation.metrics


def test_edges_of_band_limits_that_are_never_drawn_may_be_any() -> None:
    edges = {"high_pass_hz": [5000, 9000], "band_limit_probability": 0}
    recipe.parse({"name": "mine"} | MINIMAL | {"data": {"augmentation": edges}}, "mine")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("band-envelope", {"n_fft": -5}, r"n_fft: found -5, should be greater than or equal to 1"),
        ("log-spectral-distance", {"n_fft": 512.5}, r"n_fft: found 512\.5, should be a valid integer"),
        ("compressed-spectrum", {"win_length": 1024}, r"win_length 1024 must not exceed n_fft 512"),
        (
            "multi-resolution-stft",
            {"n_fft": [512], "hop_length": [0], "win_length": [512]},
            r"hop_length\.0: found 0, should be greater than or equal to 1",
        ),
        ("multi-resolution-stft", {"window": "han"}, r"unknown window 'han'"),
        ("log-power-spectrum", {"hop_length": 5}, r"hop_length: found 5, should be a valid tuple"),
        ("multi-scale-mel", {"n_mels": [2.5], "win_lengths": [32]}, r"n_mels\.0: found 2\.5, .*integer"),
        ("multi-scale-mel", {"n_mels": [2], "win_lengths": [3]}, r"win_lengths\.0: found 3, .*equal to 4"),
        ("snr", {"epsilon": -1}, r"epsilon: found -1, should be greater than or equal to 0"),
        ("si-sdr", {"soft_limit_db": -1e5}, r"soft_limit_db: found -100000\.0, .*equal to -200"),
        ("log-power-spectrum", {"floor": -1}, r"floor: found -1, should be greater than 0"),
        ("log-spectral-distance", {"range_db": 0}, r"range_db: found 0, should be greater than 0"),
        ("band-envelope", {"floor": 0}, r"floor: found 0, should be greater than 0"),
        ("bandwidth-extension", {"settling": -1}, r"settling: found -1, .*or equal to 0"),
        ("intelligibility", {"sample_rate": 0}, r"sample_rate: found 0, .*or equal to 1000"),
        ("snr", {"soft_limit_db": "abc"}, r"soft_limit_db: found 'abc', should be a valid number"),
        ("snr", {"soft_limit_db": float("nan")}, r"soft_limit_db: found nan, should be a finite number"),
        (
            "permutation-invariant",
            {"loss": "compressed-spectrum", "options": {"hop_length": [0]}},
            r"compressed-spectrum: hop_length: found \[0\], should be a valid integer",
        ),
    ],
)
def test_options_of_losses_are_checked_by_their_types(
    name: str, options: dict[str, Any], message: str
) -> None:
    change = {"loss": [{"name": name, "options": options}]}
    with pytest.raises(RecipeError, match=rf"mine: loss\.0: .*{message}"):
        recipe.parse({"name": "mine"} | MINIMAL | change, "mine")


@pytest.mark.parametrize("catalogue", [LOSSES, DISCRIMINATORS])
def test_every_option_has_a_type_that_is_checked(catalogue: Catalogue[Any]) -> None:
    unchecked = [
        f"{name}: {option}"
        for name, found in catalogue.builtin().items()
        for option in constructor_options(found)
        if not argument_problems(found.__init__, {option: object()})
    ]
    assert not unchecked


def test_options_of_other_types_are_left_to_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Loss):
        def __init__(self, sizes: Sequence[int], path: Path | None = None, free=None) -> None:  # type: ignore[no-untyped-def]
            super().__init__()
            self.sizes = sizes

    monkeypatch.setattr(LOSSES, "get", lambda name: Other)
    options = {"sizes": [1, 2], "path": "here", "free": [object]}
    assert make_loss("other", options).sizes == [1, 2]


def test_lists_become_tuples_where_a_loss_takes_tuples(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Loss):
        def __init__(
            self,
            numbers: list[int],
            pairs: tuple[tuple[int, int], ...] | None = None,
            one: int | list[int] = 1,
            plain: list = [],  # type: ignore[type-arg]  # noqa: B006
        ) -> None:
            super().__init__()
            self.given = (numbers, pairs, one, plain)

    monkeypatch.setattr(LOSSES, "get", lambda name: Other)
    options = {"numbers": [1, 2], "pairs": [[1, 2], [3, 4]], "one": [5], "plain": [[6]]}
    assert make_loss("other", options).given == ([1, 2], ((1, 2), (3, 4)), [5], [[6]])
    with pytest.raises(RecipeError, match=r"numbers\.1: found 'a', should be a valid integer"):
        make_loss("other", {"numbers": [1, "a"]})


CHECKED_IMPORTS = """
from __future__ import annotations

from typing import TYPE_CHECKING

from audiotool.losses.base import Loss

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class Mine(Loss):
    name = "mine"

    def __init__(self, sizes: Sequence[int] = (1, 2), gain: float = 1.0) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, outputs: dict[str, Tensor], batch: dict[str, Tensor]) -> Tensor: ...
"""


def test_a_loss_may_import_names_for_type_checkers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"audiotool.losses": {"mine": "checked_imports:Mine"}}
    install_plugin(tmp_path, "checked-imports", {"checked_imports": CHECKED_IMPORTS}, points)
    monkeypatch.syspath_prepend(tmp_path)
    assert make_loss("mine", {"sizes": [3], "gain": 2}).sizes == [3]
    with pytest.raises(RecipeError, match=r"mine: gain: found 'loud', should be a valid number"):
        make_loss("mine", {"gain": "loud"})


def test_the_audio_section_may_be_missing() -> None:
    values = {key: value for key, value in MINIMAL.items() if key != "audio"}
    assert recipe.parse({"name": "mine"} | values, "mine").audio == AudioConfig()


def test_missing_sections_are_named() -> None:
    with pytest.raises(RecipeError, match=r"task: is missing; .*loss: is missing"):
        recipe.parse({"name": "mine", "model": {"name": "cleanunet"}, "audio": {}, "data": {}}, "mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: [denoise", r"mine\.yaml, line \d+: not valid YAML"),
        ("task: denoise\ntask: vocode\n", r"line 2: not valid YAML: the key 'task' is there twice"),
        ("model: !!python/object:os.system {}\n", r"not valid YAML: could not determine a constructor"),
        ("- denoise\n", r"a recipe is a mapping of keys, found \['denoise'\]"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.load(written(tmp_path, text))


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'cleanunet-smal'.*did you mean 'cleanunet-small'\?"):
        recipe.load("cleanunet-smal")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(RecipeError, match="cannot be read"):
        recipe.load(path)


def test_overrides_reach_every_key() -> None:
    settings = ["train.batch_size=3", "optimiser.lr=2e-3", "loss.0.weight=7", "data.mixing.snr_db=[0, 5]"]
    settings += ["schedule.name=cosine", "optimiser.name=adam", "model.config.n_layers=4", "train.clip=null"]
    loaded = recipe.parse({"name": "mine"} | MINIMAL, "mine", settings)
    assert (loaded.train.batch_size, loaded.optimiser.lr, loaded.loss[0].weight) == (3, 0.002, 7.0)
    assert loaded.data.mixing.snr_db == (0, 5)
    assert (loaded.schedule.name, loaded.model.config, loaded.train.clip) == ("cosine", {"n_layers": 4}, None)
    assert "train" not in MINIMAL


def test_a_folder_that_is_typed_starts_from_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside" / "data").mkdir(parents=True)
    (tmp_path / "here" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    typed = recipe.parse({"name": "mine"} | MINIMAL, "mine", ["data.root=data"]).data
    assert typed.root is not None
    written = recipe.parse({"name": "mine"} | MINIMAL, "mine").data.model_copy(update={"root": Path("data")})
    for data, place in ((typed, "here"), (written, "beside")):
        located = data.model_copy(update={key: [] for key in ("speech", "noise", "rir", "pairs")})
        assert located.located(tmp_path / "beside").root == tmp_path / place / "data"


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("data.evaluation.snr_db=[0,5]", {"snr_db": (0, 5)}),
        ("data.evaluation.synthetic.kinds=[hum]", {"synthetic": {"probability": 0, "kinds": ["hum"]}}),
        ("data.evaluation={}", {}),
    ],
)
def test_an_override_of_the_evaluation_leaves_its_other_keys(setting: str, changed: dict[str, Any]) -> None:
    before, after = (
        recipe.parse({"name": "mine"} | MINIMAL, "mine", overrides).data.evaluation.model_dump()
        for overrides in ([], [setting])
    )
    assert before["noises"] == (1, 1)
    assert after == before | changed


def test_no_section_of_a_recipe_changes_when_it_is_begun() -> None:
    """A section that is given in part, or empty, has the defaults that it has when it is left out."""

    def begun(section: type[Section]) -> None:
        for name, field in section.model_fields.items():
            inner = field.annotation
            if is_subclass(inner, Section):
                if not field.is_required():
                    default = field.get_default(call_default_factory=True)
                    assert type(default) is inner, name
                    assert default == inner(), name
                begun(inner)

    begun(recipe.Recipe)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.batch_size", "expected key.path=value"),
        ("loss.3.weight=1", r"loss\.3: the list has items 0 to 0"),
        ("task.name=1", r"task\.name: .*has no keys"),
        ("train.steps=[1", "not valid YAML"),
        ("freeze=[*.bias]", r"text that begins with \* wants quotes: '\*\.bias'"),
        ("freeze=[*decoder]", r"text that begins with \* wants quotes"),
        ("train.stepz=1", r"train\.stepz: unknown key; did you mean 'steps'"),
    ],
)
def test_bad_overrides(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipe.parse({"name": "mine"} | MINIMAL, "mine", [setting])
