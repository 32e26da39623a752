"""Values of any source: whatever they are, a config is made or refused in one line."""

from __future__ import annotations

import math
import os

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gcn_cli.cli.options import parse_duration, refuse_empty
from gcn_cli.errors import ConfigError, GcnError, UsageError
from gcn_cli.run import strict_yaml
from gcn_cli.run.config import dump, resolve, validate
from gcn_cli.run.keys import keys_of
from gcn_cli.run.numbers import MOST, whole
from gcn_cli.run.sampling import parse_seeds, parse_size
from gcn_cli.run.schema import KINDS

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SIGNS = st.text(
    st.one_of(st.sampled_from("0123456789²³٣१x,-.:e_ \n[]{}&*'\"#!%@`|>?\udce9"), st.characters()),
    max_size=40,
)
PLAIN = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=8)
SINGLE = (
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_subnormal=False)
    | PLAIN
    | st.sampled_from(["1:30", "1e5", "2024-01-01", "yes", "010", "0x1F", "<<", "=", "1_000"])
)
KEYS = [(kind, key.path) for kind in KINDS for key in keys_of(KINDS[kind])]
SCALARS = st.one_of(
    SIGNS,
    st.integers(),
    st.floats(allow_subnormal=False),
    st.booleans(),
    st.none(),
    st.sampled_from([10**9, 10**20, 10**4000, 1e308, 1e-300, math.nan, math.inf, "1:30", "²"]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SIGNS, inner, max_size=3)
)


def _one_line(error: GcnError) -> bool:
    return len(str(error).splitlines()) == 1 and str(error).isprintable()


def _read_or_refused(read, *given):
    try:
        return read(*given)
    except GcnError as error:
        refusal = error
    assert _one_line(refusal), repr(str(refusal))
    return None


@quick
@given(SIGNS)
def test_texts_of_the_command_line_are_read_or_refused(text):
    size = _read_or_refused(parse_size, text)
    assert size is None or all(0 <= side <= MOST for side in size)
    seeds = _read_or_refused(parse_seeds, text)
    assert seeds is None or all(0 <= seed <= MOST for seed in seeds)
    seconds = _read_or_refused(parse_duration, text)
    assert seconds is None or 0 < seconds < math.inf


@quick
@given(st.integers(0, MOST))
def test_whole_numbers_come_back(number):
    assert whole(str(number)) == number
    assert whole(f" {number} ", number) == number
    assert number == MOST or whole(str(number + 1), number) is None


@pytest.mark.parametrize("text", ["²", "٣", "1²", "+1", "1_0", "1.0", "", "9" * 20, "9" * 5000])
def test_what_is_no_whole_number(text):
    assert whole(text) is None
    with pytest.raises(UsageError, match="a size reads like"):
        parse_size(text)
    with pytest.raises(UsageError, match="seeds read like"):
        parse_seeds(text)


def test_seeds_are_counted_over_all_ranges():
    assert len(parse_seeds("0-9998,5,9999")) == 10000
    with pytest.raises(UsageError, match="more than 10000 seeds"):
        parse_seeds("0-9999,20000")


@quick
@given(st.sampled_from(KEYS), SIGNS)
def test_an_override_is_taken_or_refused(key, text):
    kind, path = key
    preset = "frame" if kind == "field" else "texture"
    _read_or_refused(resolve, preset, None, [f"{path.replace('*', '0')}={text}"])


@quick
@given(st.sampled_from(KEYS), VALUES)
def test_a_value_of_any_kind_is_taken_within_bounds_or_refused(key, value):
    kind, path = key
    data = resolve("frame" if kind == "field" else "texture").model_dump(mode="json")
    node, parts = data, path.replace("*", "0").split(".")
    for part in parts[:-1]:
        node = node[int(part) if isinstance(node, list) else part]
        if not isinstance(node, dict | list):
            return
    node[parts[-1]] = value
    config = _read_or_refused(validate, data)
    if config is not None:  # what was taken is finite, and is read again
        assert validate(strict_yaml.parse(dump(config))) == config


@pytest.mark.parametrize("key", [k.path for k in keys_of(KINDS["texture"])])
@pytest.mark.parametrize("value", ["1e308", "1" + "0" * 20, ".inf", ".nan", "-1"])
def test_no_number_is_without_end(key, value):
    for preset in ("texture",):
        with pytest.raises(ConfigError) as caught:
            resolve(preset, None, [f"{key.replace('*', '0')}={value}"])
        assert _one_line(caught.value)


@quick
@given(st.text(max_size=60) | SIGNS)
def test_any_text_is_yaml_or_refused(text):
    _read_or_refused(strict_yaml.parse, text)


@quick
@given(st.dictionaries(PLAIN, st.lists(SINGLE, max_size=3) | SINGLE, max_size=3))
def test_what_is_written_is_read_again(data):
    text = strict_yaml.text_of(data)
    assert strict_yaml.parse(text) == data
    assert yaml.safe_load(text) == data  # and by others


BAD = {
    "a date is a word": ("seed: 2024-01-01", "seed: input should be a valid integer"),
    "sixties are a word": ("seed: 1:30", "seed: input should be a valid integer"),
    "many digits": ("seed: " + "9" * 5000, "line 1.: a number has 5000 digits"),
    "a key twice": ("seed: 1\nbudget: 3\nseed: 2", "line 3.: 'seed' stands twice"),
    "a key twice below": ("noise:\n  lowest: 0.1\n  lowest: 0.2", "line 3.: 'lowest' stands twice"),
    "a key that is a number": ("1: 2", "line 1.: a key is no word"),
    "brackets": ("name: " + "[" * 5000, "nested deeper than 20"),
    "dashes": ("name:\n" + "- " * 5000, "nested deeper than 20"),
    "references": (
        "a0: &a0 [x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 15)),
        "more than 20000 values",
    ),
    "merged": ("noise: &n {lowest: 0.1}\nsizes: {<<: *n}", "unknown key 'sizes.<<'"),
    "a tag": ("name: !!binary aGk=", "line 1.: a tag that no config needs"),
    "a number that is none": ("seed: !!int x", "not valid YAML"),
    "two documents": ("seed: 1\n---\nseed: 2", "not valid YAML"),
    "long": ("#" * 65537, "longer than 64 KiB"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD.keys())
def test_a_hostile_file_is_refused_in_its_own_words(text, words, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        resolve(None, file)
    assert _one_line(caught.value)


def test_numbers_are_those_of_yaml_1_2():
    text = "a: 1e-3\nb: 010\nc: 0x1F\nd: 0o17\ne: -1.5E+2\nf: .5\ng: 1:30\nh:\ni: 2024-01-01"
    assert strict_yaml.parse(text) == {
        "a": 1e-3,
        "b": 10,
        "c": 31,
        "d": 15,
        "e": -150.0,
        "f": 0.5,
        "g": "1:30",
        "h": None,
        "i": "2024-01-01",
    }


def test_a_config_that_is_no_regular_file_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe.yaml"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(ConfigError, match="is not a regular file"):
            resolve(None, path)
    with pytest.raises(ConfigError, match="cannot read config"):
        resolve(None, tmp_path)
    with pytest.raises(ConfigError, match="File name too long"):
        resolve(None, tmp_path / ("n" * 300))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "--ckpt", ""], "--ckpt was given nothing"),
        (["train", "--out= "[:6]], "--out was given nothing"),
        (["score", "", "--ckpt", "a"], "an argument is empty"),
        (["train", "--mask", "  "], "--mask was given nothing"),
    ],
)
def test_words_that_hold_nothing_are_refused(words, told):
    with pytest.raises(UsageError, match=told):
        refuse_empty(words)
    refuse_empty(["train", "--set", "description=", "-o", "-", "a=b="])
