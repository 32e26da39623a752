"""What every config key means, told from the models themselves.

On a screen beside a config's values (`explain`), on a page (`reference`), and to editors
(`json_schema`). A key's help is written once, where the key is defined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, Literal, NamedTuple, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from gcn_cli.run.schema import DEFAULT_KIND, KINDS, Common, Config
from gcn_cli.run.strict_yaml import text_of

_PLAIN = TypeAdapter(Any)
_COLUMN = 26
"""Where help begins on the screen; above a value that is longer."""


class Key(NamedTuple):
    """One key: ``path`` as `--set` takes it, with ``*`` for the items of a list."""

    path: str
    field: FieldInfo
    only: str = ""
    """The choice that the key belongs to, where not every one has it."""

    @property
    def help(self) -> str:
        """One line with the unit."""
        return self.field.description or ""

    @property
    def section(self) -> bool:
        """Whether it holds keys instead of a value."""
        return bool(models_of(self.field.annotation))


def models_of(annotation: Any) -> list[type]:
    """Models and dataclasses that an annotation mentions."""
    plain = get_origin(annotation) is None  # Python 3.10 calls tuple[X] a class
    if (
        plain
        and isinstance(annotation, type)
        and (issubclass(annotation, BaseModel) or is_dataclass(annotation))
    ):
        return [annotation]
    return [found for inner in get_args(annotation) for found in models_of(inner)]


def fields_of(model: type) -> dict[str, FieldInfo]:
    """The keys of a model or of a dataclass, by name."""
    if issubclass(model, BaseModel):
        return model.model_fields
    hints = get_type_hints(model, include_extras=True)
    own: tuple[Any, ...] = fields(cast(Any, model))
    return {one.name: FieldInfo.from_annotated_attribute(hints[one.name], one) for one in own}


def keys_of(model: type, above: str = "", only: str = "") -> Iterator[Key]:
    """Every key of a model, those of its parts after the part's own."""
    for name, field in fields_of(model).items():
        path = f"{above}{name}"
        yield Key(path, field, only)
        parts = models_of(field.annotation)
        item = "*." if get_origin(field.annotation) is tuple else ""
        for part in parts:
            choice = get_args(fields_of(part)["name"].annotation)[0] if len(parts) > 1 else only
            yield from keys_of(part, f"{path}.{item}", choice)


def explain(config: Config) -> str:
    """The config as YAML that `resolve` accepts again, each key with its help."""
    lines = ["# Every key, its value and its meaning; `gcn config keys` tells ranges and defaults."]
    for text, told in _lines(config, ""):
        if told and len(text) >= _COLUMN:
            lines.append(f"{text[: len(text) - len(text.lstrip())]}# {told}")
        lines.append(f"{text:{_COLUMN}}# {told}" if told and len(text) < _COLUMN else text)
    return "\n".join(lines) + "\n"


def _lines(part: Any, indent: str) -> Iterator[tuple[str, str]]:
    """Lines of YAML and what is told of each."""
    for name, field in fields_of(type(part)).items():
        value, told = getattr(part, name), field.description or ""
        if models_of(type(value)):
            yield f"{indent}{name}:", told
            yield from _lines(value, indent + "  ")
        elif isinstance(value, tuple):
            yield f"{indent}{name}:", told
            for key, item in fields_of(type(value[0])).items():
                yield f"{indent}  # {key}: {item.description}", ""
            for item in value:
                yield f"{indent}  - {_yaml(_PLAIN.dump_python(item, mode='json'))}", ""
        else:
            yield f"{indent}{name}: {_yaml(value)}", told


def _yaml(value: Any) -> str:
    """A value on one line."""
    return text_of([value], default_flow_style=True, width=2**31).strip()[1:-1]


_PAGE = """\
# Config keys

Made by `gcn config keys > docs/keys.md` from the models themselves; change a key's words there.

A key is changed by `--set likelihood.updates=60`, or in a YAML file of your own; an item of a list
by its number, as in `--set layers.0.filters=32`, or all of them by `layers.*.filters`. A file
without `layers` changes the preset, so it may hold the changed keys alone; what a file with
`layers` of its own leaves out has the default below. `gcn config show texture --explain` tells the
values of a preset.

Editors check and complete a config by its JSON schema: `gcn config schema > gcn.schema.json`, and
`# yaml-language-server: $schema=gcn.schema.json` as the config's first line.
"""


def reference() -> str:
    """The key reference as a page of Markdown."""
    parts = [_PAGE, _table("Every kind", list(keys_of(Common)))]
    for kind, model in KINDS.items():
        own = [k for k in keys_of(model) if k.path.partition(".")[0] not in Common.model_fields]
        title = f"Kind `{kind}`" + (", the default" if kind == DEFAULT_KIND else "")
        parts.append(_table(title, own))
    return "\n".join(parts)


def _table(title: str, keys: list[Key]) -> str:
    lines = [f"## {title}", "", "| key | what it is | values | default |", "|---|---|---|---|"]
    for key in keys:
        path = f"`{key.path}`" + (f" ({key.only})" if key.only else "")
        values = "" if key.section else _values(key.field)
        lines.append(f"| {path} | {key.help} | {values} | {_default(key)} |")
    return "\n".join(lines) + "\n"


def _default(key: Key) -> str:
    if key.field.is_required():
        return "to be given"
    return "" if key.section else f"`{_yaml(key.field.default)}`"


_TYPES = {int: "integer", float: "number", str: "text", bool: "`true`, `false`", NoneType: "`null`"}
_TOLD = 1e6  # bounds beyond it are the machine's
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _values(field: FieldInfo) -> str:
    """Which values a key takes, in words."""
    bounds = [
        f" {sign} {getattr(bound, name):g}"
        for bound in field.metadata
        for name, sign in _BOUNDS.items()
        if hasattr(bound, name) and getattr(bound, name) < _TOLD
    ]
    first, *others = _type(field.annotation)
    return ", ".join([first + "".join(bounds), *others])


def _type(annotation: Any) -> list[str]:
    if annotation in _TYPES:
        return [_TYPES[annotation]]
    if get_origin(annotation) is Literal:
        return [f"`{choice}`" for choice in get_args(annotation)]
    return [word for inner in get_args(annotation) for word in _type(inner)]


def json_schema() -> dict[str, Any]:
    """JSON schema of a config file, which may leave out what a preset says."""
    refs, whole = models_json_schema(
        [(model, "validation") for model in KINDS.values()], ref_template="#/$defs/{model}"
    )
    models = {kind: refs[model, "validation"] for kind, model in KINDS.items()}
    for name, definition in whole["$defs"].items():
        definition["additionalProperties"] = False  # older pydantic leaves it out of a dataclass
        if not name.startswith("Layer"):  # lists are given whole, all else by parts
            definition.pop("required", None)
        for key in definition["properties"].values():
            if "oneOf" in key:  # parts of either may fit both
                key["anyOf"] = key.pop("oneOf")
    field = {"properties": {"kind": {"const": "field"}}, "required": ["kind"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gcn config",
        "if": field,
        "then": models["field"],
        "else": models["texture"],
        "$defs": whole["$defs"],
    }
