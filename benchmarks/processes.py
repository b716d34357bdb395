"""Worker processes of a benchmark, beside the stack's own servers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starter.embedded.stack import Endpoints
from worker import READY

_ROOT = Path(__file__).resolve().parents[1]
_READY_SECONDS = 60.0
_STOP_SECONDS = 40.0


@contextmanager
def running(module: str, endpoints: Endpoints, log: Path) -> Iterator[None]:
    """Run ``python -m module`` against the stack until the block ends; enters it when the worker says it is ready."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    ours = {"PYTHONUNBUFFERED": "1", "TEMPORAL_CONFIG_FILE": os.devnull, **endpoints.environment()}
    with (
        log.open("wb") as output,
        subprocess.Popen(
            (sys.executable, "-m", module), cwd=_ROOT, env=inherited | ours, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait(process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while READY not in log.read_text().splitlines():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the worker did not start:\n{log.read_text()}")
        time.sleep(0.05)
