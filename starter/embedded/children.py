"""The child processes of one stack, by name, and the record of them that finds what a killed stack left behind."""

import json
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from starter.embedded.child import Child, Command, StackError, spawn

# psutil derives the time from the clock of the machine, which may be set a little between two looks.
_CLOCK_TOLERANCE_SECONDS = 3.0
_PATIENCE_SECONDS = 10.0


class Children:
    """Starts and stops children; ``record`` (JSON) always names those that may be running."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._running: dict[str, Child] = {}
        self._lock = threading.Lock()
        self._closed = False

    def spawn(self, command: Command) -> Child:
        """Start a command and record it. Raises ``StackError`` when it cannot start or the stack is being stopped."""
        with self._lock:
            if self._closed:
                raise StackError("The stack is being stopped.")
            child = spawn(command)
            try:
                self._running[command.name] = child
                self._write()
            except OSError as error:
                child.stop()
                raise StackError(f"{self._record} cannot be written: {error.strerror}") from error
            return child

    def get(self, name: str) -> Child | None:
        """Return the last child started under ``name``, dead or alive."""
        return self._running.get(name)

    def open(self) -> None:
        """Allow children again after ``close``."""
        self._closed = False

    def close(self) -> None:
        """Let no further child start."""
        with self._lock:
            self._closed = True

    def stop(self, name: str) -> None:
        """Stop the child of that name, if there is one, and strike it from the record."""
        child = self._running.get(name)
        if child is None:
            return
        if child.alive():
            child.stop()
        with self._lock, suppress(OSError):  # a full disk must not keep the next child from being stopped
            self._running.pop(name, None)
            self._write()

    def stop_leftovers(self, progress: Callable[[str], None]) -> None:
        """Stop what the record of an earlier, killed stack names, so that no two servers ever share a file."""
        leftovers = []
        for entry in self._read():
            if process := _surviving(entry):
                progress(f"Stopping {entry['name']}, which an earlier stack left behind (pid {process.pid}).")
                leftovers.append(process)
        stubborn = end(leftovers, signal.SIGTERM, _PATIENCE_SECONDS)
        if immortal := end(stubborn, signal.SIGKILL, _PATIENCE_SECONDS):
            raise StackError(f"Process {immortal[0].pid} of an earlier stack cannot be stopped. Stop it yourself.")
        self._record.unlink(missing_ok=True)

    def _read(self) -> list[dict[str, object]]:
        try:
            entries: list[dict[str, object]] = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return []
        return entries

    def _write(self) -> None:
        entries = [entry for child in self._running.values() if (entry := _describe(child))]
        draft = self._record.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(entries))
        draft.replace(self._record)


def end(processes: list[psutil.Process], number: signal.Signals, seconds: float) -> list[psutil.Process]:
    """Signal processes that are not our children and return those that still run after ``seconds``."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    return outlasting(processes, seconds)


def outlasting(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait for processes to end and return those that still run after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (running := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return running


def _runs(process: psutil.Process) -> bool:
    """Tell whether a process does anything still; where nobody buries orphans, as in some containers, they stay."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _describe(child: Child) -> dict[str, object] | None:
    try:
        created = psutil.Process(child.pid).create_time()
    except psutil.NoSuchProcess:
        return None
    return {"name": child.command.name, "pid": child.pid, "created": created, "argv": list(child.command.argv)}


def _surviving(entry: dict[str, object]) -> psutil.Process | None:
    """Return the recorded process if it still runs, and not another that was given its number since."""
    pid, created, argv = entry.get("pid"), entry.get("created"), entry.get("argv")
    if not isinstance(pid, int) or not isinstance(created, float):
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - created) < _CLOCK_TOLERANCE_SECONDS and process.cmdline() == argv
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if same else None
