"""docs/cli.md says what the command line has, all of it and nothing else."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import typer

from starter import endings
from starter.cli import app
from tests.unit.test_docs import PAGES, ROOT

_PAGE: Final = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
_SECTIONS: Final = dict(re.findall(r"^### `holdfast ([a-z -]+)`\n(.*?)(?=^##|\Z)", _PAGE, re.MULTILINE | re.DOTALL))
_OF_ALL: Final = {"--help", "--json", "--home"}
# Explained once, for all commands that operators send.
_OF_SENT: Final = {"--operator", "--id", "--expect-version", "--yes"}


def _commands(command: Any, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command by the words that call it, without the groups that do nothing by themselves."""
    if not hasattr(command, "commands"):
        return {" ".join(words): command}
    itself = {" ".join(words): command} if words and command.invoke_without_command else {}
    return itself | {
        name: found
        for word, inner in command.commands.items()
        for name, found in _commands(inner, (*words, word)).items()
    }


_COMMANDS: Final = _commands(typer.main.get_command(app))
# In code, whether in a sentence or a block: that is where somebody copies it from.
_CALLED: Final = re.compile(
    r"(?:(?<=`)|\.venv/bin/|^\s*|[;&(] ?|exec )holdfast ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", re.MULTILINE
)


def _said(command: Any) -> set[str]:
    """What can be written after a command: options by their names, arguments by their placeholders."""
    return {
        parameter.metavar or parameter.name.upper() if parameter.param_type_name == "argument" else option
        for parameter in command.params
        for option in parameter.opts
    }


def test_every_command_is_on_the_page_and_every_command_on_the_page_exists() -> None:
    """In the order in which people would look for them, once each."""
    assert set(_SECTIONS) == set(_COMMANDS)
    assert len(_SECTIONS) == _PAGE.count("\n### `holdfast ")


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_option_and_argument_of_a_command_is_in_its_table_and_no_other(name: str) -> None:
    """Nothing can be said to a command that its section does not explain."""
    documented = set(re.findall(r"^\| `([^` ]+)[^`]*` \|", _SECTIONS[name], re.MULTILINE))
    said = _said(_COMMANDS[name])
    assert documented == said - _OF_ALL - (_OF_SENT if said >= {"--operator", "--id"} else set())


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_answers_scripts_in_json(name: str) -> None:
    """``--json`` is everywhere, if only for errors."""
    assert "--json" in _said(_COMMANDS[name])


def test_what_many_commands_have_is_explained_once() -> None:
    """In the section about all of them, and where those that operators send begin."""
    assert all(f"`{option}" in _PAGE.partition("\n## Exit codes")[0] for option in _OF_ALL - {"--help"})
    shared = _PAGE.partition("\n## What operators send\n")[2].partition("\n### ")[0]
    assert set(re.findall(r"^\| `([^` ]+)[^`]*` \|", shared, re.MULTILINE)) == _OF_SENT


def test_the_page_and_the_help_list_every_exit_code() -> None:
    """Scripts go by them, so none is left out."""
    codes = {value for name, value in vars(endings).items() if name.isupper() and isinstance(value, int)}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", _PAGE, re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", endings.EPILOG)} == codes


def test_only_what_moves_money_asks_first_and_everything_an_operator_sends_has_an_id() -> None:
    """Who sends a command says who it is, and can send it again under its id."""
    corrections = {"reconcile correct", "reconcile approve", "reconcile reject"}  # of the books, not of an escrow
    sent = {name for name, command in _COMMANDS.items() if "--operator" in _said(command)} - corrections
    asks = {name for name, command in _COMMANDS.items() if "--yes" in _said(command)}
    assert asks & corrections == corrections - {"reconcile reject"}
    asks -= corrections
    assert sent - asks == {"dispute review", "dispute close"}
    assert asks < sent
    for name in sent:
        assert {"--id", "--expect-version"} <= _said(_COMMANDS[name])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    """On every page, and not only on the one about the command line."""
    code = re.findall(r"^```.*?^```|`[^`\n]+`", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    groups = {name.split()[0] for name in _COMMANDS if " " in name}
    for first, second in (found for part in code for found in _CALLED.findall(part)):
        called = f"{first} {second}" if first in groups and second else first
        assert called in _COMMANDS or called in groups, f"there is no `holdfast {called}`"
