"""Runs of deal files, remembered in ``<home>/runs``: what a run was of, and whether it came to its end.

Every id that a run uses derives from the run's own and the number of a step, so whoever repeats the run repeats its
ids, and nothing happens twice.
"""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from models import ids
from starter.embedded.child import StackError
from starter.endings import NOT_FOUND, EndedError
from starter.misuse import MisuseError

PLAYING: Final = "playing"
ENDED: Final = "ended"
_STARTED: Final = "%Y%m%d-%H%M%S"


@dataclass(frozen=True)
class Run:
    """One playing of a deal file. ``digest`` is of what the file said then."""

    id: str
    file: str
    digest: str
    state: str = PLAYING

    @property
    def started(self) -> datetime:
        """When it was begun, UTC."""
        return _started(self.id)

    @property
    def tenant(self) -> str:
        """The tenant of this run alone, with a clock of its own."""
        return self._derive("ten")

    @property
    def escrow(self) -> str:
        """The run's escrow."""
        return self._derive("esc")

    def charge(self, step: int) -> str:
        """The id of the charge that a step makes."""
        return self._derive("chg", str(step))

    def command(self, step: int, name: str) -> str:
        """The id of the command that a step sends."""
        return f"{self.id}:{step}:{name}"

    def _derive(self, prefix: str, *parts: str) -> str:
        return ids.derive(prefix, self.started, self.id, *parts)


@dataclass(frozen=True)
class Changes:
    """How many changes of its tenant a run has begun to make, kept beside it.

    Commands are known by their ids, but a policy that is written again after another one is a new version. So what a
    run changes in mid-story it changes once; only the last that was begun is made again, since it may not have been.
    """

    file: Path

    @property
    def begun(self) -> int:
        """0 for a run that has changed nothing."""
        try:
            return int(self.file.read_text())
        except (OSError, ValueError):
            return 0

    def begin(self, number: int) -> bool:
        """Whether the change of that number, from 1, is to be made; from then on it is begun."""
        if number < self.begun:
            return False
        draft = self.file.with_suffix(".draft")
        draft.write_text(str(number))
        draft.replace(self.file)
        return True


class Runs:
    """The runs that were played with one home. Raises ``StackError`` where the directory cannot be used."""

    def __init__(self, home: Path) -> None:
        self._place = home.absolute() / "runs"
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(
                f"{self._place} cannot be written: {error.strerror}. Choose another directory with HOLDFAST_HOME."
            ) from error

    def new(self, file: Path, digest: str) -> Run:
        """A run that nobody has played yet."""
        now = datetime.now(UTC)
        return Run(f"{now:{_STARTED}}-{secrets.token_hex(3)}", str(file.resolve()), digest)

    def find(self, identifier: str, file: Path, digest: str) -> Run:
        """The run to resume. Raises ``EndedError`` (not_found), ``MisuseError`` when the file says something else."""
        run = self._read(identifier)
        if run is None:
            known = [one.id for one in self._all() if one.file == str(file.resolve())]
            what_is = f"the last runs of this file: {', '.join(known[:3])}" if known else "this file was never run here"
            raise EndedError(NOT_FOUND, "not_found", f"there is no run {identifier!r} in {self._place}; {what_is}")
        if run.digest != digest:
            raise MisuseError(
                f"{file} is not what run {run.id} was started with: a run is resumed with the same deal. "
                "Start a new one by leaving --run-id away."
            )
        return run

    def interrupted(self, file: Path) -> Run | None:
        """The last run of a file, if it was interrupted: it did not come to its end, and nobody is playing it."""
        last = next((run for run in self._all() if run.file == str(file.resolve())), None)
        return last if last and last.state == PLAYING and self._is_free(last) else None

    @contextmanager
    def playing(self, run: Run) -> Iterator[Changes]:
        """Write the run down before anything of it happens, and that it ended unless it is interrupted.

        Raises ``MisuseError`` when another process is playing it.
        """
        (self._place / run.id).mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(self._place / run.id, os.O_RDONLY)
        try:
            if not _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                raise MisuseError(f"run {run.id} is being played by another process right now")
            self._write(run, PLAYING)
            yield Changes(self._place / run.id / "changes")
            self._write(run, ENDED)
        finally:
            os.close(descriptor)

    @contextmanager
    def using_the_stack(self) -> Iterator[Callable[[], bool]]:
        """Be one of those who use the home's stack; yields a question whether we have become the only one."""
        descriptor = os.open(self._place, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield lambda: _lock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)

    def _all(self) -> Iterator[Run]:
        """Every run, the latest first."""
        for place in sorted(self._place.iterdir(), reverse=True):
            if run := self._read(place.name):
                yield run

    def _read(self, identifier: str) -> Run | None:
        try:
            run = Run(**json.loads((self._place / identifier / "run.json").read_text()))
            _started(run.id)
        except (OSError, ValueError, TypeError):
            return None
        return run if run.id == identifier else None

    def _write(self, run: Run, state: str) -> None:
        draft = self._place / run.id / "run.draft"
        draft.write_text(json.dumps(asdict(run) | {"state": state}))
        draft.replace(self._place / run.id / "run.json")

    def _is_free(self, run: Run) -> bool:
        descriptor = os.open(self._place / run.id, os.O_RDONLY)
        try:
            return _lock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


def _started(identifier: str) -> datetime:
    return datetime.strptime(identifier[:15], _STARTED).replace(tzinfo=UTC)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind)
    except OSError:
        return False
    return True
