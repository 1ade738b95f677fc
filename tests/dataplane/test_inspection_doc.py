"""docs/inspection.md shows what the commands print by now, and all of them."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from pyagent.cli.main import cli
from tests.support.kernel import Kernel
from tests.support.node import Node

PROJECT = Path(__file__).parents[2]
DOCUMENT = PROJECT / "docs" / "inspection.md"
#: Verbs that the document is about, with all that is below them.
VERBS = ("observe", "rescue", "bpf", "report")


@pytest.fixture(scope="module")
def inspection_doc() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inspection_doc", PROJECT / "scripts" / "inspection_doc.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inspection_doc"] = module
    spec.loader.exec_module(module)
    return module


def test_the_document_is_what_the_commands_print(
    inspection_doc: ModuleType, kernel: Kernel, tmp_path: Path
) -> None:
    try:
        rendered = inspection_doc.render(Node(kernel, tmp_path / "agent"))
    finally:
        kernel.withdraw()
    comparable = inspection_doc.comparable
    assert comparable(DOCUMENT.read_text()) == comparable(rendered), "stale: run `make docs-inspection`"


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all commands that do something themselves."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if path or name in VERBS:
                below = command.get_command(context, name)
                assert below is not None
                yield from commands(below, (*path, name))
    if path and (not isinstance(command, click.Group) or command.invoke_without_command):
        yield path


def shown() -> list[list[str]]:
    """The command lines of the document, without ``hepctl``."""
    return [
        shlex.split(line)[1:] for line in re.findall(r"^\$ (hepctl .*)$", DOCUMENT.read_text(), re.MULTILINE)
    ]


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_every_command_is_shown(path: tuple[str, ...]) -> None:
    assert any(tuple(words[: len(path)]) == path for words in shown())


@pytest.mark.parametrize("words", shown(), ids=" ".join)
def test_every_option_that_is_shown_exists(words: list[str]) -> None:
    command: click.Command = cli
    context, rest = click.Context(cli, info_name="hepctl"), words
    while isinstance(command, click.Group) and rest and (below := command.get_command(context, rest[0])):
        command, rest = below, rest[1:]
    command.make_context("hepctl", list(rest), parent=context)


def test_an_option_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(click.NoSuchOption):
        test_every_option_that_is_shown_exists(["bpf", "maps", "--colour"])
