"""Configuration: YAML to validated models and on to the core's plans.

Precedence: dotted overrides (``--set a.b=v``) > ``--config file.yaml`` > preset > default.
Unknown keys are refused with the nearest known name.
"""

from __future__ import annotations

import contextlib
import difflib
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
    model_validator,
)

from gcn_cli.errors import ConfigError

DEFAULT_PRESET = "texture"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LayerConfig(_Strict):
    """One convolutional layer; ``size: full`` spans the whole map below it."""

    filters: int = Field(ge=1, le=4096)
    size: int | Literal["full"]
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=0, ge=0)
    relu: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> LayerConfig:
        if self.size != "full":
            if not 1 <= self.size <= 512:
                raise ValueError("size must lie between 1 and 512 px, or be 'full'")
            if self.stride > self.size:
                raise ValueError(f"stride {self.stride} skips pixels of a {self.size} px filter")
            if self.padding >= self.size:
                raise ValueError(f"padding {self.padding} is not below the filter's {self.size} px")
        return self


class LangevinConfig(_Strict):
    """``sigma`` and ``eps`` in the config's ``unit``; ``dither`` averages the stride's phases."""

    sigma: float = Field(gt=0)
    eps: float = Field(gt=0)
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


class SgdConfig(_Strict):
    """The authors' plain gradient ascent."""

    name: Literal["sgd"]
    rate: float = Field(gt=0)
    decay: float = Field(default=1e-4, ge=0)
    bias_factor: float = Field(default=2.0, ge=0)
    cap: float = Field(default=20.0, gt=0)


class InitConfig(_Strict):
    """Starting weights: N(0, std^2) where ``std`` is given, else He scaling."""

    std: float | None = Field(default=None, gt=0)
    top_gain: float = Field(default=1.0, gt=0)


class LearningConfig(_Strict):
    """How a field learns; ``data_noise`` in units of sigma."""

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
    observed_copies: int = Field(default=1, ge=1)
    path_every: int = Field(default=0, ge=0)


class SamplingConfig(_Strict):
    """How fresh chains run; ``start_noise`` in units of sigma."""

    steps: int | None = Field(default=None, ge=1)
    start_noise: float = Field(default=0.0, ge=0)
    polish: int = Field(default=0, ge=0)


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
    exemplar's standard deviation. ``canvas`` is the side of the chains in px (None: the
    exemplar's own).
    """

    name: str = "custom"
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**63)
    unit: Literal["grey", "contrast"] = "grey"
    boundary: Literal["torus", "bounded"] = "torus"
    canvas: int | None = Field(default=None, ge=8)
    precision: Literal["auto", "fp32", "bf16", "tf32"] = "auto"
    images: ImagesConfig = ImagesConfig()
    guard: GuardConfig = GuardConfig()
    output: OutputConfig = OutputConfig()
    layers: tuple[LayerConfig, ...] = Field(min_length=1)
    langevin: LangevinConfig
    init: InitConfig = InitConfig()
    learning: LearningConfig
    sampling: SamplingConfig = SamplingConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if any(layer.size == "full" for layer in self.layers[:-1]):
            raise ValueError("only the top layer can be 'full'")
        if self.boundary == "torus" and any(layer.padding for layer in self.layers):
            raise ValueError("padding has no meaning on a torus; set it to 0")
        if self.boundary == "torus" and self.learning.chains == "data":
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
    """A copy in which what YAML refers to (``*wide``) stands on its own.

    An override of one layer would else change all layers that are written as references to it.
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

    A file that has ``layers`` of its own stands alone; otherwise it changes the preset.

    Raises:
        ConfigError: anything unknown or out of range, in one sentence.
    """
    changes = read_yaml(file) if file else {}
    data: dict[str, Any] = {}
    if preset or "layers" not in changes:
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
    """The resolved config as YAML that `resolve` accepts again."""
    plain = config.model_dump(mode="json")
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    return text


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _override(data: dict[str, Any], text: str) -> None:
    """Apply one ``a.b=v``; ``layers.0.x`` indexes a list, ``layers.*.x`` all of it."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"an override reads key=value, as in learning.updates=50: {text}")
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
        "layers": LayerConfig,
        "langevin": LangevinConfig,
        "init": InitConfig,
        "learning": LearningConfig,
        "optimiser": AdamConfig,
        "sampling": SamplingConfig,
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
