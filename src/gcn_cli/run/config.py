"""Configuration: YAML to validated models.

Precedence: dotted overrides (``--set a.b=v``) > ``--config file.yaml`` > preset > default.
Unknown keys are refused with the nearest known name, see `gcn_cli.run.unknown`. ``kind`` says which
model a config follows, see `gcn_cli.run.schema`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gcn_cli.errors import ConfigError
from gcn_cli.run import strict_yaml
from gcn_cli.run.presets import preset_folder, preset_names
from gcn_cli.run.schema import DEFAULT_KIND, KINDS, Config
from gcn_cli.run.unknown import offer, unknown_key

DEFAULT_PRESET = "texture"
_INDEX = re.compile(r"-?[0-9]{1,6}")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


def load_preset(name: str) -> dict[str, Any]:
    """The raw mapping of a shipped preset.

    Raises:
        ConfigError: no such preset; the nearest name is offered.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError(f"there is no preset '{name}'{offer(name, names)}")
    return read_yaml(preset_folder() / f"{name}.yaml")


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping from a file.

    Raises:
        ConfigError: missing, unreadable, not YAML, or not a mapping.
    """
    try:
        data = strict_yaml.parse(strict_yaml.read_text(path))
        if not isinstance(data, dict):
            raise ConfigError("must be a mapping of keys to values")
    except ConfigError as error:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else None
        told = f"cannot read config {path}: {cause.strerror}" if cause else f"config {path} {error}"
        raise ConfigError(told) from error
    return data


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
    if not is_preset and (_is_there(file) or file.suffix in (".yaml", ".yml") or file.parent.name):
        return resolve(preset, file, overrides)
    if preset not in (None, name_or_file):
        raise ConfigError(f"two presets at once, '{preset}' and '{name_or_file}'; choose one")
    return resolve(name_or_file, None, overrides)


def _is_there(file: Path) -> bool:
    try:
        return file.exists() and not file.is_dir()
    except OSError:  # such a name is too long for any file, and so for a preset
        return True


def validate(data: Mapping[str, Any]) -> Config:
    """A config from plain data.

    Raises:
        ConfigError: naming the first offending key and what was wrong with it.
    """
    if "levels" in data and not isinstance(data["levels"], Mapping):  # one is made by --set
        raise ConfigError(
            "this config is of gcn 0.1, whose recipe of several 'levels' is no more: use gcn 0.1 "
            "for it, or begin anew with 'gcn config show texture'"
        )
    kind = data.get("kind", DEFAULT_KIND)
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        told = f"kind: there is no kind '{str(kind)[:40]}'{offer(str(kind)[:40], list(KINDS))}"
        raise ConfigError(told)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_sentence(error, str(kind), data)) from error


def dump(config: Config) -> str:
    """The resolved config as YAML that `resolve` accepts again."""
    plain = config.model_dump(mode="json")
    return strict_yaml.text_of(plain)


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
    if key.count(".") >= strict_yaml.MAX_DEPTH:
        raise ConfigError(f"there is no key of {key.count('.') + 1} parts: {key}")
    try:
        parsed = strict_yaml.parse(value)
    except ConfigError as error:
        raise ConfigError(f"the value of the override {text} {error}") from error
    _put(data, key.split("."), parsed, key)


def _put(node: Any, path: list[str], value: Any, whole: str) -> None:
    head, rest = path[0], path[1:]
    if isinstance(node, list):
        if head == "*":
            for item in range(len(node)):
                _put(node, [str(item), *rest], value, whole)
            return
        if not _INDEX.fullmatch(head) or not -len(node) <= int(head) < len(node):
            raise ConfigError(
                f"{whole}: '{head}' is not an index into {len(node)} items; 0 is the first, * all"
            )
        if rest:
            _put(node[int(head)], rest, value, whole)
        else:
            node[int(head)] = copy.deepcopy(value)
    elif isinstance(node, dict):
        if rest:
            if node.get(head) is None:  # a resolved config holds null where nothing was given
                node[head] = {}
            _put(node[head], rest, value, whole)
        else:
            node[head] = copy.deepcopy(value)
    else:
        raise ConfigError(f"{whole}: '{head}' lies below a plain value")


def _sentence(error: ValidationError, kind: str, data: Mapping[str, Any]) -> str:
    every = error.errors()
    unknown = [one for one in every if one["type"] in _UNKNOWN]
    if unknown:  # before what is missing: a mistyped key is both
        return unknown_key(kind, [str(part) for part in unknown[0]["loc"]], data)
    first = every[0]
    key = ".".join(str(part) for part in first["loc"] if part not in ("adam", "sgd"))
    if first["type"] == "missing":
        return f"the key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return f"{key}: {message}" if key else message
