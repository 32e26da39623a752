"""YAML that a config needs, and no more: words, numbers, lists and mappings, all of them bounded.

Left out of YAML 1.1 are dates, numbers to the base of 60 (``1:30``), octal ``010`` and tags; a key
stands once. ``1e-3`` is a number, as in YAML 1.2.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node

from gcn_cli.errors import ConfigError

MAX_BYTES = 64 * 2**10
"""Of a file, at most: some twenty times the longest preset."""
MAX_DEPTH = 20
MAX_VALUES = 20_000
"""Keys and values of a file, references (``*wide``) counted wherever they stand."""
_MOST_DIGITS = 40
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, in its version without libyaml, with bounds on what it builds."""

    def __init__(self, text: str):
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """One node of the document; refuses those that lie too deep."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            mark = self.get_mark()
            raise ConstructorError(None, None, f"it is nested deeper than {MAX_DEPTH}", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are words, each of them once."""
        seen = set()
        for key, _ in node.value:
            name = key.value if key.tag == f"{_TAG}str" else None
            if name is None or name in seen:
                told = "a key is no word" if name is None else f"'{name[:60]}' stands twice"
                raise ConstructorError(None, None, told, key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def number(self, node: Any) -> int | float:
        """A number of bounded length."""
        text = str(self.construct_scalar(node)).lower()
        if len(text) > _MOST_DIGITS:
            told = f"a number has {len(text)} digits"
            raise ConstructorError(None, None, told, node.start_mark)
        if node.tag == f"{_TAG}int":
            return int(text, 0 if text.lstrip("+-")[:2] in ("0x", "0o") else 10)
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))


def _unknown(_: _Loader, node: Node) -> Any:
    raise ConstructorError(None, None, f"a tag that no config needs: {node.tag}", node.start_mark)


_WORDS = {
    "bool": (
        "yYnNtTfFoO",
        r"yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF",
    ),
    "null": ("~nN\0", r"~|null|Null|NULL|"),
    "int": ("-+0123456789", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"),
    "float": (
        "-+0123456789.",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    ),
}
_Loader.yaml_implicit_resolvers = {}
for _name, (_first, _pattern) in _WORDS.items():
    _Loader.add_implicit_resolver(
        f"{_TAG}{_name}",
        re.compile(f"(?:{_pattern})\\Z"),
        ["" if c == "\0" else c for c in _first],
    )
_KEPT = ("null", "bool", "str", "seq", "map")
_Loader.yaml_constructors = {
    **{f"{_TAG}{name}": yaml.SafeLoader.yaml_constructors[f"{_TAG}{name}"] for name in _KEPT},
    f"{_TAG}int": _Loader.number,
    f"{_TAG}float": _Loader.number,
    None: _unknown,
}


def parse(text: str) -> Any:
    """The value of a YAML text; what it refers to (``*wide``) stands on its own.

    Raises:
        ConfigError: what is wrong and, if it is known, on which line; without the file's name.
    """
    try:
        return _Copy().of(yaml.load(text, _Loader))
    except yaml.YAMLError as error:
        mark, problem = (getattr(error, name, None) for name in ("problem_mark", "problem"))
        line = f" (line {mark.line + 1})" if mark else ""
        told = f": {problem}" if isinstance(error, ConstructorError) and problem else ""
        raise ConfigError(f"is not valid YAML{line}{told}") from error
    except (ValueError, KeyError) as error:  # a tag on a value that is none of its kind
        raise ConfigError("is not valid YAML") from error


class _Copy:
    """Copies in which nothing is shared: else an override of one layer would change others."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def of(self, value: Any, depth: int = 0) -> Any:
        """The copy of a value."""
        self._left -= 1
        if depth > MAX_DEPTH:
            raise ConfigError("is nested without end")
        if self._left < 0:
            raise ConfigError(f"holds more than {MAX_VALUES} values")
        if isinstance(value, dict):
            return {key: self.of(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.of(inner, depth + 1) for inner in value]
        return value


class _Dumper(yaml.SafeDumper):
    """Quotes every word that this reader, or one of YAML 1.1, would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *_Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def text_of(data: Any, **layout: Any) -> str:
    """Plain data as YAML that `parse` reads again; ``layout`` as of `yaml.dump`."""
    return str(yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **layout))


def read_text(path: Path) -> str:
    """The text of a regular file of at most `MAX_BYTES`; nothing waits for a pipe.

    Raises:
        ConfigError: missing, no regular file, too long, not UTF-8; without the file's name.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:  # noqa: PTH123 - a descriptor
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ConfigError("is not a regular file")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError("is no name of a file") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"is longer than {MAX_BYTES // 2**10} KiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError("is not valid YAML: it is not UTF-8") from error
