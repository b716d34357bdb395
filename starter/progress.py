"""Telling a person what is going on: a line with a spinner in a terminal, plain lines everywhere else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Spinner
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

_WIDTH_WITHOUT_TERMINAL = 110
_NARROWEST = 40


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console that prints text as it is; files and pipes get no control characters, and a width that reads well."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _width_wanted()
    return Console(stderr=stderr, quiet=quiet, width=width, markup=False, highlight=False, emoji=False)


def _width_wanted() -> int:
    """What COLUMNS says, as for other programs whose output goes through a pipe."""
    columns = os.environ.get("COLUMNS", "")
    return max(int(columns), _NARROWEST) if columns.isascii() and columns.isdecimal() else _WIDTH_WITHOUT_TERMINAL


class Progress:
    """What is being done right now, on stderr, so that a report on stdout stays clean. ``quiet`` is for scripts."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = console(stderr=True, quiet=quiet)
        self._spinner = Spinner(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._spinner.add_task("", start=False)
        self._spins = self._console.is_terminal and not quiet

    def __enter__(self) -> Self:
        self._spinner.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._spinner.stop()

    def doing(self, what: str) -> None:
        """Say what takes time now; in a terminal it gives way to what comes next."""
        if self._spins:
            self._spinner.reset(self._task, description=what)
        else:
            self._console.print(what, soft_wrap=True)

    def say(self, line: str) -> None:
        """Say something that is to stay."""
        self._console.print(line, soft_wrap=True)

    def stop_spinning(self) -> None:
        """Say everything in plain lines from now on: what was just printed is to be read, not to be animated."""
        self._spinner.stop()
        self._spins = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Make room for somebody else's output."""
        self._spinner.stop()
        try:
            yield
        finally:
            self._spinner.start()
