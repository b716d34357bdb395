"""One child process of the embedded stack: in a session of its own, logged to a file, watched, stopped, never left."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from starter.embedded.unprivileged import User

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02
_LARGEST_LOG_BYTES = 16 * 1024 * 1024

# Linux kills a child with its parent when the *thread* that forked it ends, so one thread that lives as long as the
# program forks them all: neither a pool that starts servers nor a thread that supervises them takes them along.
_forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="forker")
# Resolved here because the code between fork and exec must not import, allocate much or wait for a lock.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class StackError(Exception):
    """The embedded stack cannot do what was asked. The message is for a person: what is wrong and what to do."""


@dataclass(frozen=True)
class Command:
    """What to run and how to end it: each signal of ``stop`` with the seconds it gets before the next, then SIGKILL."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str]
    cwd: Path | None = None
    user: User | None = None
    stop: tuple[tuple[signal.Signals, float], ...] = ((signal.SIGTERM, 5.0),)
    parent_death: signal.Signals = signal.SIGKILL


class Child:
    """A running command. Every method may be called from any thread."""

    def __init__(self, command: Command, process: subprocess.Popen[bytes], log_start: int) -> None:
        self.command = command
        self.pid = process.pid
        self._process = process
        self._log_start = log_start

    def alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    def ending(self) -> str:
        """Say how the process ended: "exit code 1", "SIGKILL"."""
        code = self._process.poll()
        return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"

    def output(self) -> str:
        """Return what it logged since this start; nothing if somebody removed the log."""
        try:
            with self.command.log.open("rb") as log:
                log.seek(self._log_start)
                return log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Return once ``ready()``. Raises ``StackError`` with the log's end when the process dies or time runs out."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive():
                raise StackError(f"{self.command.name} stopped while starting ({self.ending()}).{self._evidence()}")
            if time.monotonic() > deadline:
                raise StackError(f"{self.command.name} was not ready within {seconds:g} seconds.{self._evidence()}")
            time.sleep(_POLL_SECONDS)

    def finish(self, seconds: float) -> None:
        """Wait for a command that ends by itself. Raises ``StackError`` unless it succeeds within ``seconds``."""
        if self.ended_within(seconds) and self._process.returncode == 0:
            return
        problem = "did not finish" if self.alive() else f"failed ({self.ending()})"
        raise StackError(f"{self.command.name} {problem}.{self._evidence()}")

    def stop(self) -> None:
        """End the process the way its command asks for, at last with SIGKILL to its whole group."""
        for number, seconds in self.command.stop:
            self._process.send_signal(number)
            if self.ended_within(seconds):
                return
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def ended_within(self, seconds: float) -> bool:
        """Wait at most ``seconds`` for the end of the process and tell whether it came."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _evidence(self) -> str:
        last_lines = "\n".join(f"  {line}" for line in self.output().splitlines()[-12:])
        return f" The end of {self.command.log}:\n{last_lines}" if last_lines else f" {self.command.log} is empty."


def spawn(command: Command) -> Child:
    """Start a command. Raises ``StackError`` when the operating system refuses."""
    return _forker.submit(_spawn, command).result()


def _spawn(command: Command) -> Child:
    user = command.user
    try:
        with os.fdopen(_open_log(command.log), "ab") as log:
            start = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=command.cwd,
                env=command.env,
                umask=0o077,  # what they write is for us alone
                start_new_session=True,  # Ctrl-C in the terminal is for us; we end the children in order
                preexec_fn=_dying_with(os.getpid(), command.parent_death),  # noqa: PLW1509 -- safe: see _prctl and _forker
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{command.name} cannot be started ({command.argv[0]}): {error}") from error
    return Child(command, process, start)


def _open_log(path: Path) -> int:
    if path.exists() and path.stat().st_size > _LARGEST_LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def _dying_with(parent: int, number: int) -> Callable[[], None] | None:
    """Have the kernel send ``number`` to the child when we die, even by SIGKILL. Linux only."""
    prctl = _prctl
    if prctl is None:
        return None

    def arm() -> None:  # runs after the change of user, which would clear the setting
        prctl(_PR_SET_PDEATHSIG, int(number))
        if os.getppid() != parent:
            os._exit(1)

    return arm
