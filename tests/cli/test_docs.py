"""README's commands are real: its verbs, options, presets, targets and files exist."""

import re
import shlex
from pathlib import Path

import pytest

from gcn_cli.run.config import preset_names

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _commands():
    blocks = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def test_readme_shows_commands():
    assert len([line for line in _commands() if line.startswith("gcn ")]) >= 6


@pytest.mark.parametrize("line", [c for c in _commands() if c.startswith("gcn ")])
def test_a_command_of_readme_has_the_verb_and_options_it_uses(line, gcn):
    words = shlex.split(line)[1:]
    verb = words[:2] if words[0] == "config" else words[:1]
    told = gcn(*verb, "--help")
    assert told.exit_code == 0, told.stderr
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told.stdout), option


@pytest.mark.parametrize("line", [c for c in _commands() if c.startswith(("make ", "python "))])
def test_other_commands_of_readme_name_what_exists(line):
    words = shlex.split(line)
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    else:
        assert (ROOT / words[1]).is_file()


def test_every_preset_is_told():
    table = README.partition("## Presets")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)
    assert sorted(told) == preset_names()


def test_every_local_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert [link for link in local if not (ROOT / link).exists()] == []
