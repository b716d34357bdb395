"""Reading YAML so that every scalar stays the text that was written, and everything knows its line and column.

YAML would read 1500.10 as a float and a date as a time; money has to be read exactly, by whoever knows its currency.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode, SequenceNode
from ruamel.yaml.scanner import Scanner

from starter.misuse import MisuseError

Where: TypeAlias = tuple[str | int, ...]
"""Where something is in a document: ``("actions", 3, "milestone")``."""

_LARGEST_BYTES: Final = 256 * 1024
# A few aliases of aliases can stand for more nodes than there is memory.
_MOST_NODES: Final = 20_000
# A deal needs six. The library takes time by the square of it: seconds for a thousand brackets.
_MOST_BRACKETS: Final = 50
_QUOTED: Final = 60
# What YAML itself calls the kinds of values; any other tag says that a value is not what it looks like.
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "seq", "map", "merge")
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file, and where, counted from 1."""

    message: str
    line: int | None = None
    column: int | None = None

    def told(self, file: Path) -> str:
        """The message, after the place as compilers and editors write it: ``deal.yaml:17:5: ...``."""
        place = f":{self.line}:{self.column}" if self.line else ""
        return f"{file}{place}: {self.message}"


class DealFileError(MisuseError):
    """A deal file that cannot be played. ``str`` is for a person: one line per problem, in the file's order."""

    def __init__(self, file: Path, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems, key=lambda one: (one.line or 0, one.column or 0))
        super().__init__("\n".join(problem.told(file) for problem in self.problems))


@dataclass
class Source:
    """A document as dicts, lists, text and None, with the place of every value and, in mappings, of every key."""

    file: Path
    tree: Any = None
    places: dict[Where, tuple[int, int]] = field(default_factory=dict)
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: Where, message: str, *, at_key: bool = False) -> Problem:
        """A problem at a path; what is missing from the file is shown at what should have contained it."""
        if at_key and path in self.keys:
            return Problem(message, *self.keys[path])
        while path and path not in self.places:
            path = path[:-1]
        return Problem(message, *self.places.get(path, (1, 1)))

    def value(self, path: Where) -> Any:
        """What the file says at a path; None where it says nothing."""
        found = self.tree
        for step in path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return None
        return found


class _ShallowScanner(Scanner):
    """Gives up on brackets within brackets as what cannot be a deal."""

    def fetch_flow_collection_start(self, TokenClass: Any, to_push: str) -> None:  # noqa: N803 - as it is called
        if len(self.flow_context) >= _MOST_BRACKETS:
            raise RecursionError
        super().fetch_flow_collection_start(TokenClass, to_push)


def quoted(said: Any) -> str:
    """What a file says, in quotation marks, cut where it is long: a message is shorter than the mistake."""
    text = str(said)
    return repr(text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "...")


def read(file: Path) -> Source:
    """Read one YAML document. Raises ``DealFileError`` for a file that cannot be read or is not YAML."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.Scanner = _ShallowScanner
        root = yaml.compose(_text(file))
        if root is None:
            raise DealFileError(file, [Problem("the file is empty: a deal was expected")])
        source = Source(file)
        source.tree = _Reader(source).convert(root, (), ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(filter(None, (error.context, error.problem)))
        raise DealFileError(file, [Problem(f"not YAML: {reason}", *_place(mark))]) from error
    except YAMLError as error:
        raise DealFileError(file, [Problem(f"not YAML: {str(error).splitlines()[0]}")]) from error
    except RecursionError as error:
        raise DealFileError(file, [Problem("nested too deeply for a deal")]) from error
    return source


def _text(file: Path) -> str:
    try:
        if file.is_dir():
            raise DealFileError(file, [Problem("this is a directory: a deal file was expected")])
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise DealFileError(file, [Problem("there is no such file")]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DealFileError(file, [Problem(f"the file cannot be read: {reason}")]) from error
    if len(content) > _LARGEST_BYTES:
        raise DealFileError(file, [Problem(f"the file is larger than {_LARGEST_BYTES >> 10} KiB")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DealFileError(file, [Problem("not UTF-8 text", line, 1)]) from error


def _place(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


@dataclass
class _Reader:
    """Converts nodes, noting where each stands; what is ambiguous is refused, not guessed."""

    source: Source
    seen: int = 0

    def convert(self, node: Node, path: Where, above: tuple[Node, ...]) -> Any:
        self.seen += 1
        self.source.places[path] = _place(node.start_mark)
        if self.seen > _MOST_NODES or any(node is one for one in above):
            raise self._wrong(node, "aliases that repeat without end")
        if node.tag is not None and str(node.tag) not in _TAGS:
            tag = str(node.tag).replace("tag:yaml.org,2002:", "!!")
            raise self._wrong(
                node, f"the tag {quoted(tag)} means nothing here: write the value as it is, without a tag"
            )
        if isinstance(node, ScalarNode):
            return None if str(node.tag).endswith(":null") else str(node.value)
        if isinstance(node, SequenceNode):
            return [self.convert(one, (*path, index), (*above, node)) for index, one in enumerate(node.value)]
        return self._mapping(node, path, (*above, node))

    def _mapping(self, node: Node, path: Where, above: tuple[Node, ...]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise self._wrong(key, "a key must be plain text")
            name = str(key.value)
            if name in converted:
                first = self.source.keys[(*path, name)][0]
                raise self._wrong(key, f"key {quoted(name)} is here twice: it was already set in line {first}")
            self.source.keys[(*path, name)] = _place(key.start_mark)
            converted[name] = self.convert(value, (*path, name), above)
        return converted

    def _wrong(self, node: Node, message: str) -> DealFileError:
        return DealFileError(self.source.file, [Problem(message, *_place(node.start_mark))])
