"""What the pages tell is real: their commands, options, keys, presets, targets, files and links."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from gcn_cli.run.config import choose, preset_names
from gcn_cli.run.rundir import read_jsonl

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MOST_WORDS = 900  # of README, for a reader of two minutes
PROGRAMS = ("gcn", "make", "python")
ENDS = {"|", "||", "&&", "&", ">", ">>", "2>", "<", "do", "done"}
FENCED = re.compile(r"```(\w*)\n(.*?)```", flags=re.DOTALL)
INLINE = re.compile(rf"`((?:\S+/)?(?:{'|'.join(PROGRAMS)})\s[^`]+)`")


class Command(NamedTuple):
    """One call of a program, as a page tells it."""

    page: str
    program: str
    words: tuple[str, ...]

    def values(self, option: str) -> list[str]:
        """What follows an option, every time that it is given."""
        pairs = zip(self.words, self.words[1:], strict=False)
        return [value for word, value in pairs if word == option]


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _lines(text: str) -> list[str]:
    """Lines of shell and make, continued ones joined; and commands within sentences."""
    blocks = [body for language, body in FENCED.findall(text) if language in ("sh", "make")]
    inline = [" ".join(span.split()) for span in INLINE.findall(FENCED.sub("", text))]
    return [*"\n".join(blocks).replace("\\\n", " ").splitlines(), *inline]


def _calls(page: str, line: str) -> list[Command]:
    """The calls on a line; what pipes, loops and redirections stand between is told apart."""
    words = shlex.split(line, comments=True)
    found = []
    for first, word in enumerate(words):
        program = word.rpartition("/")[2].removeprefix("$(")
        if program not in PROGRAMS:
            continue
        given: list[str] = []
        for following in words[first + 1 :]:
            if following in ENDS:
                break
            given.append(following.rstrip(";"))
            if following.endswith(";"):
                break
        if given:
            found.append(Command(page, program, tuple(given)))
    return found


TOLD = [call for page in PAGES for line in _lines(_text(page)) for call in _calls(page.name, line)]


def _told(program: str) -> list[Command]:
    return list(dict.fromkeys(call for call in TOLD if call.program == program))


def _name(call: Command) -> str:
    return f"{call.page}: {call.program} {' '.join(call.words)}"


def _verb(call: Command) -> tuple[str, ...]:
    return call.words[:2] if call.words[0] == "config" else call.words[:1]


def test_the_pages_show_commands():
    assert len([call for call in _told("gcn") if call.page == "README.md"]) >= 6
    assert len(_told("make")) >= 3


@pytest.mark.parametrize("call", _told("gcn"), ids=_name)
def test_a_command_has_the_verb_and_options_that_it_uses(call, gcn):
    verb = () if call.words[0].startswith("-") else _verb(call)
    told = gcn(*verb, "--help")
    assert told.exit_code == 0, told.stderr
    for option in (word for word in call.words if word.startswith("-") and word != "-"):
        assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told.stdout), option


def _resumed(call: Command) -> list[str]:
    """The preset of the run that a command resumes: the last one that its page chose."""
    before = TOLD[: TOLD.index(call)] if call.values("--resume") else []
    return [word for c in before if c.page == call.page for word in c.values("--config")][-1:]


@pytest.mark.parametrize("call", [c for c in TOLD if c.values("--set")], ids=_name)
def test_keys_that_are_set_exist_and_take_the_value(call):
    preset = [*call.values("--config"), *call.values("--preset"), *_resumed(call), None][0]
    choose(preset if preset in preset_names() else None, None, call.values("--set"))


@pytest.mark.parametrize("call", _told("gcn"), ids=_name)
def test_presets_that_are_named_exist(call):
    shown = call.words[2:3] if call.words[:2] == ("config", "show") else ()
    for name in (*call.values("--config"), *call.values("--preset"), *shown):
        assert name in preset_names() or name.endswith(".yaml"), name


TELLING = [c for c in _told("gcn") if _verb(c)[0] in ("config", "doctor") and "FILE" not in c.words]


@pytest.mark.parametrize("call", [c for c in TELLING if "validate" not in c.words], ids=_name)
def test_commands_that_only_tell_do_so(call, gcn):
    told = gcn(*call.words)
    assert told.exit_code == 0, told.stderr
    assert told.stdout


@pytest.mark.parametrize("call", _told("make"), ids=_name)
def test_targets_exist(call):
    makefile = _text(ROOT / "Makefile")
    for word in (word for word in call.words if word[0].isalpha()):
        name = rf"^{re.escape(word)}:" if "=" not in word else rf"^{word.split('=')[0]}\s*\?="
        assert re.search(name, makefile, flags=re.MULTILINE), word


@pytest.mark.parametrize("call", [c for c in _told("python") if c.words[0] != "-m"], ids=_name)
def test_scripts_exist_and_know_their_options(call):
    script = _text(ROOT / call.words[0])
    for option in (word for word in call.words if word.startswith("-")):
        assert f'"{option}"' in script, option


def test_files_of_ours_that_commands_name_exist():
    named = {
        word
        for call in TOLD
        for word in call.words
        if word.startswith(("textures/", "configs/", "scripts/", "benchmarks/", "docs/", "tests/"))
    }
    assert named
    assert [word for word in named if not list(ROOT.glob(word.partition("::")[0]))] == []


def test_readme_is_for_a_reader_of_two_minutes():
    assert len(_text(ROOT / "README.md").split()) <= MOST_WORDS


def test_every_preset_is_told():
    table = _text(ROOT / "README.md").partition("## Presets")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)
    assert sorted(told) == preset_names()


def _links(page: Path) -> list[Path]:
    """Files that a page links to or shows."""
    found = re.findall(r'\]\(([^)#\s]+)|src="([^"]+)"', FENCED.sub("", _text(page)))
    links = [link or picture for link, picture in found]
    return [page.parent / link for link in links if not link.startswith("http")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_leads_somewhere(page):
    assert [link for link in _links(page) if not link.exists()] == []


def test_readme_leads_to_every_page():
    reached = {link.resolve() for link in _links(ROOT / "README.md")}
    assert [page.name for page in PAGES[1:] if page not in reached] == []


RUN_FOLDER = _text(ROOT / "docs" / "run-folder.md")
KEYS = _text(ROOT / "docs" / "keys.md")


@pytest.mark.parametrize("name", ["texture", "plain"])
def test_the_run_folder_holds_what_its_page_tells(name, trained):
    data = torch.load(trained[name] / "run.pt", weights_only=True)
    model = data["model"]
    parts = [data, model, data["state"], *model.get("sizes", [])]
    records = read_jsonl(trained[name] / "metrics.jsonl")
    told = {key for part in (*parts, *records) for key in part}
    told |= {p.name for p in trained[name].iterdir() if not p.name.startswith("samples-")}
    assert [word for word in sorted(told) if f"`{word}`" not in RUN_FOLDER] == []
    assert [key for key in model["layers"][0] if f"`layers.*.{key}`" not in KEYS] == []


READING = [code for language, code in FENCED.findall(RUN_FOLDER) if language == "python"]


def test_the_checkpoint_is_read_as_told(trained, capsys):
    exec(READING[0].replace("runs/00007-stones", str(trained["texture"])))
    assert "contrast" in capsys.readouterr().out


def test_an_export_is_read_as_told(trained, gcn, tmp_path, capsys):
    told = gcn("export", trained["texture"], "-o", tmp_path / "a.safetensors", "--note", "ours")
    exec(READING[1].replace("wall.safetensors", told.stdout.strip()))
    assert capsys.readouterr().out.startswith("custom ours\n# ash.png\n")


def test_every_test_that_the_page_on_the_paper_cites_exists():
    cited = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", _text(ROOT / "docs" / "paper.md"))
    assert len(cited) >= 8
    for file, name in cited:
        assert not name or f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), name
