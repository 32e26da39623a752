"""Every key has its help, and screen, page and schema tell it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml

from gcn_cli.run.config import preset_names, resolve, validate
from gcn_cli.run.keys import explain, json_schema, keys_of, reference
from gcn_cli.run.schema import KINDS

ROOT = Path(__file__).resolve().parents[2]
KEYS = [(kind, key) for kind, model in KINDS.items() for key in keys_of(model)]


@pytest.mark.parametrize(("kind", "key"), KEYS, ids=[f"{k}-{key.path}" for k, key in KEYS])
def test_every_key_has_a_help_of_one_line(kind, key):
    assert key.help
    assert "\n" not in key.help
    assert len(key.help) <= 74
    if get_origin(key.field.annotation) is Literal:
        for choice in get_args(key.field.annotation):
            assert re.search(rf"\b{choice}\b", key.help), choice


def test_keys_reach_every_depth():
    paths = {(kind, key.path) for kind, key in KEYS}
    assert {("texture", "layers.*.vote"), ("texture", "noise.lowest")} <= paths
    assert {("field", "guard.cut"), ("field", "learning.optimiser.cap")} <= paths
    assert ("field", "noise") not in paths


@pytest.mark.parametrize("name", preset_names())
def test_the_explained_screen_is_the_config_itself(name):
    config = resolve(name)
    screen = explain(config)
    assert validate(yaml.safe_load(screen)) == config
    lines = screen.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert len(lines) <= (56 if config.kind == "texture" else 70)
    helps = {line.partition("# ")[2] for line in lines}
    told = re.sub(r"# \w+: ", "# ", screen)
    for key in keys_of(KINDS[config.kind]):
        assert key.help in helps or f"# {key.help}" in told or key.only, key.path


def test_a_value_that_looks_like_something_else_is_quoted():
    config = resolve("texture", overrides=["name='1e3: # no'", "description='a: b'"])
    assert validate(yaml.safe_load(explain(config))) == config


def test_the_page_is_what_is_made_now():
    page = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    assert page == reference(), "make it anew: gcn config keys > docs/keys.md"


def test_the_page_tells_values_and_defaults():
    page = reference()
    assert re.search(r"^\| `noise.lowest` \|.*\| number ≥ 0.0001 \| `0.02` \|$", page, flags=re.M)
    assert re.search(r"^\| `layers.\*.filters` \|.*≥ 1 ≤ 4096 \| to be given \|$", page, flags=re.M)
    assert re.search(r"^\| `learning.optimiser.cap` \(sgd\) \|", page, flags=re.M)


def test_the_schema_has_every_key_and_its_help():
    schema = json_schema()
    for kind, branch in (("texture", "else"), ("field", "then")):
        for key in keys_of(KINDS[kind]):
            here = [schema[branch]]
            for part in key.path.split("."):
                here = [found for one in here for found in _below(schema, one, part)]
            assert key.help in [one.get("description") for one in here], key.path


def _below(schema, node, part):
    """What a schema says of a key below a node, or of the items of a list."""
    choices = [*node.get("anyOf", []), node]
    nodes = [schema["$defs"][c["$ref"].rpartition("/")[2]] if "$ref" in c else c for c in choices]
    if part == "*":
        return [one["items"] for one in nodes if "items" in one]
    return [one["properties"][part] for one in nodes if part in one.get("properties", {})]


def test_the_schema_lets_a_file_say_a_part_only():
    schema = json_schema()
    asked = {name for name, one in schema["$defs"].items() if "required" in one}
    assert asked == {"LayerSpec", "LayerConfig"}
    assert all(one["additionalProperties"] is False for one in schema["$defs"].values())
    assert "oneOf" not in str(schema)
