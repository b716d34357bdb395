"""The program's own source, parsed: what the tests of architecture and house style look at."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
ROOMS: Final = ("models", "ledger", "activities", "workflows", "starter", "benchmarks", "chaos", "tests")


@dataclass(frozen=True)
class Source:
    """One Python file of ours, by its path from the root."""

    path: Path

    @property
    def name(self) -> str:
        """The path as people write it: ``models/money.py``."""
        return self.path.as_posix()

    @property
    def room(self) -> str:
        """The top-level folder, or the module at the top level."""
        return self.path.parts[0].removesuffix(".py")

    @cached_property
    def text(self) -> str:
        """The file's text."""
        return (ROOT / self.path).read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed file."""
        return ast.parse(self.text, self.name)

    def nodes(self) -> Iterator[ast.AST]:
        """Every node of the file, also those inside functions."""
        return ast.walk(self.tree)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Every imported module with its line; ``from a import b`` counts as ``a.b``, which may be a module."""
        for node in self.nodes():
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                package = ".".join(self.path.parts[: len(self.path.parts) - node.level]) if node.level else ""
                module = ".".join(part for part in (package, node.module) if part)
                yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)

    def calls(self) -> Iterator[tuple[int, str]]:
        """Every call with its line, spelled as in the source: ``datetime.now``, ``self._books.apply``."""
        for node in self.nodes():
            if isinstance(node, ast.Call):
                yield node.lineno, ast.unparse(node.func)

    def classes(self) -> Iterator[ast.ClassDef]:
        """Every class of the file."""
        return (node for node in self.nodes() if isinstance(node, ast.ClassDef))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method of the file."""
        return (node for node in self.nodes() if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))

    def at(self, line: int) -> str:
        """A place that an editor opens."""
        return f"{self.name}:{line}"


@cache
def sources(*rooms: str) -> tuple[Source, ...]:
    """Our files in these rooms; without rooms, all of them with the modules at the top level."""
    found = [path for room in rooms or ROOMS for path in (ROOT / room).rglob("*.py")]
    if not rooms:
        found += ROOT.glob("*.py")
    return tuple(Source(path.relative_to(ROOT)) for path in sorted(found) if "__pycache__" not in path.parts)
