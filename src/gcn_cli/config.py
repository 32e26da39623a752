"""Configuration: YAML to validated models and on to the core's plans.

Precedence: dotted overrides (``--set a.b=v``) > ``--config file.yaml`` > preset > default.
Unknown keys are refused with the nearest known name.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gcn_cli.errors import ConfigError

DEFAULT_PRESET = "texture"
MAX_CANDIDATES, MAX_REDRAWS = 1024, 64
MAX_SPOT = 2.0
MIN_DICTIONARY = 2


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LayerConfig(_Strict):
    """One convolutional layer; ``size: full`` spans the whole map below it.

    With ``dilation`` d the filter's taps stand d px apart.
    """

    filters: int = Field(ge=1, le=4096)
    size: int | Literal["full"]
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=0, ge=0)
    relu: bool = True
    dilation: int = Field(default=1, ge=1, le=64)

    @model_validator(mode="after")
    def _consistent(self) -> LayerConfig:
        if self.dilation > 1 and (self.size == "full" or self.stride > 1):
            raise ValueError("a dilated filter needs stride 1 and a size in px")
        if self.size != "full":
            if not 1 <= self.size <= 512:
                raise ValueError("size must lie between 1 and 512 px, or be 'full'")
            if self.stride > self.size:
                raise ValueError(f"stride {self.stride} skips pixels of a {self.size} px filter")
            span = (self.size - 1) * self.dilation + 1
            if self.padding >= span:
                raise ValueError(f"padding {self.padding} is not below the filter's {span} px")
        return self


class LangevinConfig(_Strict):
    """``sigma`` and ``eps`` in the config's ``unit``; ``dither`` averages the stride's phases."""

    sigma: float = Field(gt=0)
    eps: float = Field(gt=0)
    cooling: float = Field(default=0.0, ge=0, le=1)
    dither: bool = False

    @model_validator(mode="after")
    def _stable(self) -> LangevinConfig:
        if self.eps >= 2 * self.sigma:
            raise ValueError(
                f"eps must be below 2 sigma = {2 * self.sigma:g}, else the chain of white noise "
                f"itself explodes; it is {self.eps:g}"
            )
        return self


class AdamConfig(_Strict):
    """Adam, ascending."""

    name: Literal["adam"] = "adam"
    rate: float = Field(gt=0)
    beta1: float = Field(default=0.5, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    decay: float = Field(default=0.0, ge=0)
    top: float = Field(default=1.0, gt=0, le=1)


class SgdConfig(_Strict):
    """The authors' plain gradient ascent."""

    name: Literal["sgd"]
    rate: float = Field(gt=0)
    decay: float = Field(default=1e-4, ge=0)
    bias_factor: float = Field(default=2.0, ge=0)
    cap: float = Field(default=20.0, gt=0)


class DictionaryConfig(_Strict):
    """A first layer that starts as centroids of the exemplar's patches; see `core.dictionary`."""

    threshold: float = Field(default=1.0, ge=0, le=100)


class InitConfig(_Strict):
    """Starting weights: N(0, std^2) where ``std`` is given, else He scaling."""

    std: float | None = Field(default=None, gt=0)
    top_gain: float = Field(default=1.0, gt=0)
    dictionary: DictionaryConfig | None = None


class LearningConfig(_Strict):
    """How one level learns; ``data_noise`` in units of sigma.

    An update on a torus sees a window of the image of at most ``glimpse`` canvases' side.
    """

    chains: Literal["persistent", "restart", "data"]
    count: int = Field(ge=1, le=4096)
    steps: int = Field(ge=1)
    updates: int = Field(ge=1)
    optimiser: AdamConfig | SgdConfig = Field(discriminator="name")
    fall: float = Field(default=1.0, gt=0, le=1)
    grow: bool = False
    grow_fall: float = Field(default=0.5, gt=0, le=1)
    data_noise: float = Field(default=0.0, ge=0)
    averaging: float = Field(default=0.0, ge=0, lt=1)
    warmup: int = Field(default=0, ge=0)
    restraint: float = Field(default=0.0, ge=0, le=1)
    tolerance: float = Field(default=0.0, ge=0)
    reach: float = Field(default=0.0, ge=0)
    recentre: float = Field(default=0.0, ge=0, le=1)
    observed_copies: int = Field(default=1, ge=1)
    path_every: int = Field(default=0, ge=0)
    pool: int = Field(default=8, ge=1)
    glimpse: float = Field(default=2, ge=1, le=64)


class SamplingConfig(_Strict):
    """How fresh chains of one level run; ``start_noise`` in units of sigma.

    At the coarsest level chains start in addition with ``start_spot`` times the image's contrast of
    noise that has the image's power spectrum, and in up to ``redraws`` rounds the places that the
    field finds less likely than nearly all of the image start again.
    Of ``candidates`` chains the one is kept whose statistics are nearest to the image's; canvases
    of more than twice the image's area have fewer. At the coarsest level ``drafts`` samples so
    chosen are kept, fewer at a lower pace, for finer levels to learn behind; with 0 those learn
    behind every draw.
    """

    steps: int | None = Field(default=None, ge=1)
    start_noise: float = Field(default=0.0, ge=0)
    start_spot: float = Field(default=0.0, ge=0, le=MAX_SPOT)
    polish: int = Field(default=0, ge=0)
    candidates: int = Field(default=1, ge=1, le=MAX_CANDIDATES)
    drafts: int = Field(default=0, ge=0, le=4096)
    redraws: int = Field(default=0, ge=0, le=MAX_REDRAWS)


class MatchingConfig(_Strict):
    """A level's matching path; see `gcn_cli.core.matching`.

    ``count`` fresh samples stand for the level's law. Stages take turns: random filters of
    ``sizes`` px; pursued ones of ``pursuit_sizes`` px, by which samples and image differ most;
    high-pass ones of ``detail_sizes`` px; random ones at one of ``octaves`` coarser octaves, as far
    as the image has them. The last stage is a Gaussian field that mends the power spectrum, with a
    kernel of ``spectrum`` px; 0 for none. The path begins with white noise of ``start_noise``
    times sigma.
    """

    stages: int = Field(ge=1, le=1000)
    count: int = Field(ge=1, le=4096)
    filters: int = Field(default=64, ge=1, le=4096)
    sizes: tuple[int, ...] = Field(default=(7, 5), min_length=1)
    pursuit_sizes: tuple[int, ...] = (9, 5)
    detail_sizes: tuple[int, ...] = (5, 3)
    octaves: int = Field(default=0, ge=0, le=6)
    spectrum: int = Field(default=0, ge=0)
    relaxation: float = Field(default=0.8, gt=0, lt=2)
    start_noise: float = Field(default=0.0, ge=0)

    @field_validator("sizes", "pursuit_sizes", "detail_sizes")
    @classmethod
    def _odd(cls, sizes: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        least = 3 if info.field_name == "detail_sizes" else 1
        if any(size % 2 == 0 or not least <= size <= 31 for size in sizes):
            raise ValueError(f"sizes are odd and lie between {least} and 31 px")
        return sizes

    @field_validator("spectrum")
    @classmethod
    def _kernel(cls, side: int) -> int:
        if side and (side % 2 == 0 or not 3 <= side <= 63):
            raise ValueError("spectrum is 0 (none) or odd and lies between 3 and 63 px")
        return side


class LevelConfig(_Strict):
    """One pyramid level: images are reduced ``reduce`` times; one level with 1 is the paper's.

    Levels in a row may be reduced alike: the later field, centred at the earlier one's samples,
    draws them once more and mends their faults.
    ``canvas`` is the side of this level's chains, in px of the full size (None: as elsewhere).
    Every second of several ``trials`` leaves ``optional`` levels out.
    """

    reduce: int = Field(default=1, ge=1, le=64)
    optional: bool = False
    canvas: int | None = Field(default=None, ge=8)
    layers: tuple[LayerConfig, ...] = Field(min_length=1)
    langevin: LangevinConfig
    init: InitConfig = InitConfig()
    learning: LearningConfig
    sampling: SamplingConfig = SamplingConfig()
    matching: MatchingConfig | None = None

    @model_validator(mode="after")
    def _full_map_on_top(self) -> LevelConfig:
        if any(layer.size == "full" for layer in self.layers[:-1]):
            raise ValueError("only the top layer can be 'full'")
        return self

    @model_validator(mode="after")
    def _dictionary_fits(self) -> LevelConfig:
        size = self.layers[0].size
        if self.init.dictionary and (size == "full" or size < MIN_DICTIONARY):
            raise ValueError(
                f"init.dictionary needs filters of {MIN_DICTIONARY} px or more in the first layer"
            )
        return self


class ImagesConfig(_Strict):
    """What is learned from: ``each`` image a model of its own, or one ``joint`` model.

    ``size`` resizes to a square of that side (images of a joint model must agree);
    ``max_side`` shrinks larger exemplars, 0 leaves them as they are; ``colour`` auto keeps
    greyscale images single-channelled.
    """

    mode: Literal["each", "joint"] = "each"
    size: int | None = Field(default=None, ge=8)
    max_side: int = Field(default=0, ge=0)
    colour: Literal["auto", "grey", "rgb"] = "auto"


class GuardConfig(_Strict):
    """Limits of the divergence guard; see `gcn_cli.core.guard.GuardParams`."""

    gap: float = Field(default=2.0, gt=0)
    spread: float = Field(default=3.0, gt=0)
    patience: int = Field(default=3, ge=1)
    check: int = Field(default=10, ge=1)
    retries: int = Field(default=5, ge=0)
    cut: float = Field(default=0.5, gt=0, lt=1)


class OutputConfig(_Strict):
    """How often, in updates, a grid of samples and a checkpoint are written."""

    grid_every: int = Field(default=50, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)


class Config(_Strict):
    """A whole experiment.

    ``precision`` is what the flag's ``auto`` means for this experiment: the faithful presets ask
    for fp32. ``unit`` says what sigma and eps count: ``grey`` levels, or ``contrast``, the
    exemplar's standard deviation. ``pace`` multiplies every level's updates; ``budget``, in
    seconds for one model, lowers it where this machine would take longer (0: no limit). Below a
    pace of one half Adam's rate rises by as much as the updates fall, at most six times.
    ``canvas`` is the side of the chains in px of the full size (None: the exemplar's own).
    Of ``trials`` models, learned with different seeds, the one is kept whose fresh samples show the
    exemplar's shapes best; ``budget`` is for all of them together.
    """

    name: str = "custom"
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    unit: Literal["grey", "contrast"] = "grey"
    boundary: Literal["torus", "bounded"] = "torus"
    canvas: int | None = Field(default=None, ge=8)
    precision: Literal["auto", "fp32", "bf16", "tf32"] = "auto"
    pace: float = Field(default=1.0, gt=0, le=1000)
    budget: float = Field(default=0.0, ge=0)
    trials: int = Field(default=1, ge=1, le=64)
    images: ImagesConfig = ImagesConfig()
    guard: GuardConfig = GuardConfig()
    output: OutputConfig = OutputConfig()
    levels: tuple[LevelConfig, ...] = Field(min_length=1)

    @field_validator("levels")
    @classmethod
    def _coarse_to_fine(cls, levels: tuple[LevelConfig, ...]) -> tuple[LevelConfig, ...]:
        for coarse, fine in itertools.pairwise(levels):
            if coarse.reduce < fine.reduce or coarse.reduce % fine.reduce:
                raise ValueError(
                    f"levels go from coarse to fine by whole factors; {coarse.reduce} then "
                    f"{fine.reduce} does not"
                )
        if levels[-1].reduce != 1:
            raise ValueError("the last level must have reduce: 1")
        if levels[-1].optional:
            raise ValueError("the last level cannot be optional")
        return levels

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.boundary == "bounded" and len(self.levels) > 1:
            raise ValueError("a pyramid lives on a torus: boundary must be torus")
        if self.trials > 1 and (self.boundary == "bounded" or self.images.mode == "joint"):
            raise ValueError(
                "trials compare fresh samples with one exemplar's texture: boundary must be torus "
                "and images.mode each"
            )
        if self.boundary == "bounded" and any(lv.matching for lv in self.levels):
            raise ValueError("a matching path lives on a torus: boundary must be torus")
        if any(lv.sampling.drafts for lv in self.levels[1:]):
            raise ValueError("sampling.drafts: only the first, coarsest level keeps drafts")
        if any(lv.sampling.start_spot or lv.sampling.redraws for lv in self.levels[1:]):
            raise ValueError(
                "sampling.start_spot and redraws: only the first, coarsest level starts from noise"
            )
        if self.levels[0].sampling.redraws:
            if self.boundary == "bounded":
                raise ValueError("sampling.redraws look at a torus: boundary must be torus")
            if any(layer.stride > 1 for layer in self.levels[0].layers):
                raise ValueError("sampling.redraws look at every pixel: strides must be 1")
        if len(self.levels) > 1 and any(lv.learning.chains == "data" for lv in self.levels):
            raise ValueError("contrastive divergence (chains: data) takes a single level")
        if self.boundary == "torus" and any(la.padding for lv in self.levels for la in lv.layers):
            raise ValueError("padding has no meaning on a torus; set it to 0")
        if self.boundary == "torus" and any(lv.learning.chains == "data" for lv in self.levels):
            raise ValueError("chains that start at the data need boundary: bounded")
        return self


def preset_folder() -> Path:
    """Where the shipped presets lie: inside the package, or beside src/ in a checkout."""
    packaged = Path(str(resources.files("gcn_cli") / "configs"))
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name: str) -> dict[str, Any]:
    """The raw mapping of a shipped preset.

    Raises:
        ConfigError: no such preset; the nearest name is offered.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError(f"there is no preset '{name}'{_nearest(name, names)}")
    return read_yaml(preset_folder() / f"{name}.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file.

    Raises:
        ConfigError: missing, unreadable, not YAML, or not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read config {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ConfigError(f"config {path} is not valid YAML{line}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"config {path} must be a mapping of keys to values")
    try:
        return {key: _unshared(value) for key, value in data.items()}
    except RecursionError as error:
        raise ConfigError(f"config {path} is nested without end") from error


def _unshared(node: Any) -> Any:
    """A copy in which what YAML refers to (``*half``) stands on its own.

    An override of one level would else change all levels that are written as references to it.
    """
    if isinstance(node, dict):
        return {key: _unshared(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unshared(value) for value in node]
    return node


def resolve(
    preset: str | None = None, file: Path | None = None, overrides: Iterable[str] = ()
) -> Config:
    """The config that preset, file and ``a.b=v`` overrides give together.

    A file that has ``levels`` of its own stands alone; otherwise it changes the preset.

    Raises:
        ConfigError: anything unknown or out of range, in one sentence.
    """
    changes = read_yaml(file) if file else {}
    data: dict[str, Any] = {}
    if preset or "levels" not in changes:
        name = preset or DEFAULT_PRESET
        data = {"name": name, **load_preset(name)}
    _merge(data, changes)
    for text in overrides:
        _override(data, text)
    return validate(data)


def choose(
    name_or_file: str | None, preset: str | None = None, overrides: Iterable[str] = ()
) -> Config:
    """`resolve`, for a word that may be a preset's name or a YAML file.

    Raises:
        ConfigError: as `resolve`, or two presets at once.
    """
    if name_or_file is None:
        return resolve(preset, None, overrides)
    file = Path(name_or_file)
    is_preset = name_or_file in preset_names()
    if not is_preset and (file.is_file() or file.suffix in (".yaml", ".yml") or file.parent.name):
        return resolve(preset, file, overrides)
    if preset not in (None, name_or_file):
        raise ConfigError(f"two presets at once, '{preset}' and '{name_or_file}'; choose one")
    return resolve(name_or_file, None, overrides)


def validate(data: Mapping[str, Any]) -> Config:
    """A config from plain data.

    Raises:
        ConfigError: naming the first offending key and what was wrong with it.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def dump(config: Config) -> str:
    """The resolved config as YAML that `resolve` accepts again.

    A level like an earlier one is a reference to it (``*id001``): cascades stay short to read.
    """
    plain = config.model_dump(mode="json")
    told: list[Any] = []
    for level in plain["levels"]:
        told.append(next((earlier for earlier in told if earlier == level), level))
    text: str = yaml.safe_dump({**plain, "levels": told}, sort_keys=False, allow_unicode=True)
    return text


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _override(data: dict[str, Any], text: str) -> None:
    """Apply one ``a.b=v``; ``levels.0.x`` indexes a list, ``levels.*.x`` all of it."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"an override reads key=value, as in levels.0.learning.updates=50: {text}"
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of the override {text} is not valid YAML") from error
    if isinstance(parsed, str):  # YAML 1.1 reads 1e-3 as text
        with contextlib.suppress(ValueError):
            parsed = float(parsed)
    _put(data, key.split("."), parsed, key)


def _put(node: Any, path: list[str], value: Any, whole: str) -> None:
    head, rest = path[0], path[1:]
    if isinstance(node, list):
        if head == "*":
            for item in range(len(node)):
                _put(node, [str(item), *rest], value, whole)
            return
        if not head.lstrip("-").isdigit() or not -len(node) <= int(head) < len(node):
            raise ConfigError(f"{whole}: '{head}' is not an index into {len(node)} items")
        if rest:
            _put(node[int(head)], rest, value, whole)
        else:
            node[int(head)] = _unshared(value)
    elif isinstance(node, dict):
        if rest:
            if node.get(head) is None:  # a resolved config holds null where nothing was given
                node[head] = {}
            _put(node[head], rest, value, whole)
        else:
            node[head] = _unshared(value)
    else:
        raise ConfigError(f"{whole}: '{head}' lies below a plain value")


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    whole = [str(part) for part in first["loc"]]
    where = [part for part in whole if part not in ("adam", "sgd")]
    key = ".".join(where)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'{_nearest(where[-1], _known(whole[:-1]))}"
    if first["type"] == "missing":
        return f"the key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{key}: {message}" if key else message


def _known(where: list[str]) -> list[str]:
    """Field names of the model at a location, for suggestions."""
    models: dict[str, type[BaseModel]] = {
        "levels": LevelConfig,
        "layers": LayerConfig,
        "langevin": LangevinConfig,
        "init": InitConfig,
        "dictionary": DictionaryConfig,
        "learning": LearningConfig,
        "optimiser": AdamConfig,
        "sampling": SamplingConfig,
        "matching": MatchingConfig,
        "images": ImagesConfig,
        "guard": GuardConfig,
        "output": OutputConfig,
    }
    if where and where[-1] == "sgd":
        return list(SgdConfig.model_fields)
    named = [part for part in where if part in models]
    model = models[named[-1]] if named else Config
    return list(model.model_fields)


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known are {', '.join(names)}" if names else ""
