"""What the play is played on: PostgreSQL, Temporal and the sandbox provider, two workers and two APIs, all real.

Each can be killed and stopped by name. What dies is started again: the servers by the stack's own supervisor, the
workers and APIs here.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psutil

from chaos import haste
from chaos.points import NAME, ORDERS, Orders
from starter.embedded.child import Child, Command, spawn
from starter.embedded.ports import Ports
from starter.embedded.stack import Endpoints, Stack

ROOT: Final = Path(__file__).resolve().parents[1]
OURS: Final = ("api1", "api2", "worker1", "worker2")
SERVERS: Final = ("postgres", "temporal", "sandbox")
_READY_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.05
_UP: Final = {"worker": "holdfast worker ready", "api": "Uvicorn running on"}
_STOP: Final = ((signal.SIGTERM, 45.0),)


@dataclass(frozen=True)
class Ended:
    """A process of ours that has ended, with what it logged. Times are seconds of the epoch."""

    name: str
    pid: int
    ending: str
    began: float
    ended: float
    output: str

    @property
    def came_up(self) -> bool:
        """Whether it had begun to work."""
        return _UP[self.name.rstrip("12")] in self.output


@dataclass
class Stage:
    """Everything that runs. ``addresses`` are those of the two APIs, ``home`` is the stack's directory."""

    place: Path
    home: Path
    endpoints: Endpoints
    addresses: list[str]
    orders: Orders
    commands: dict[str, Command]
    running: dict[str, Child] = field(default_factory=dict)
    ended: list[Ended] = field(default_factory=list)
    _began: dict[str, float] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a worker or an API."""
        self._began[name] = time.time()
        self.running[name] = spawn(self.commands[name])

    def tend(self) -> None:
        """Start again whichever of ours has died."""
        for name, child in self.running.items():
            if not child.alive():
                began, now = self._began[name], time.time()
                self.ended.append(Ended(name, child.pid, child.ending(), began, now, child.output()))
                self.start(name)

    def pids(self, victim: str) -> list[int]:
        """The processes of a victim now; none while it is being started again. Of PostgreSQL the postmaster is first.

        ``backend`` is one connection's process of PostgreSQL, if possible one that is at work.
        """
        if victim in self.running:
            return [self.running[victim].pid]
        with suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
            children = json.loads((self.home / "children.json").read_text())
            pid = next(one["pid"] for one in children if one["name"] == ("postgres" if victim == "backend" else victim))
            if victim in {"postgres", "backend"}:
                found = psutil.Process(pid).children()
                if victim == "backend":
                    titles = {one.pid: " ".join(one.cmdline()) for one in found}
                    theirs = [pid for pid, title in titles.items() if "holdfast" in title]
                    return sorted(theirs, key=lambda pid: titles[pid].endswith("idle"))[:1]
                return [pid, *(one.pid for one in found)]
            return [pid]
        return []

    @property
    def logs(self) -> list[Path]:
        """Every log, of theirs and ours."""
        return sorted([*self.place.glob("*.log"), *(self.home / "logs").glob("*.log")])


@contextmanager
def stage(place: Path, say: Callable[[str], None], *, hasty: bool) -> Iterator[Stage]:
    """Bring everything up in a directory; enters when both APIs can work. ``hasty`` shortens timeouts."""
    with ExitStack() as ending:
        ports = Ports(place / "ports.json")
        numbers = ports.take({"api1": 0, "api2": 0})
        ending.callback(ports.release)
        addresses = [f"http://127.0.0.1:{numbers[name]}" for name in ("api1", "api2")]
        told = f"{addresses[0]}/v1/gateways/stripe/webhook"
        home = place / "stack"
        stack = Stack(home, progress=lambda line: say(f"  {line}"), worker=False, webhook_url=told)
        endpoints = ending.enter_context(stack)
        over = threading.Event()
        supervisor = threading.Thread(target=stack.supervise, args=(over,), name="supervisor")
        supervisor.start()
        ending.callback(supervisor.join)
        ending.callback(over.set)
        orders = Orders(place / "orders")
        commands = {name: _command(name, endpoints, place, numbers, hasty=hasty) for name in OURS}
        made = Stage(place, home, endpoints, addresses, orders, commands)
        ending.callback(_end, made)
        for name in OURS:
            made.start(name)
        _wait(made)
        yield made


def _command(name: str, endpoints: Endpoints, place: Path, ports: dict[str, int], *, hasty: bool) -> Command:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TEMPORAL_", "HOLDFAST_"))}
    ours = {
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "TEMPORAL_CONFIG_FILE": os.devnull,
        "HOLDFAST_API_REQUESTS_PER_SECOND": "10000",
        "HOLDFAST_API_PORT": str(ports.get(name, 0)),
        ORDERS: str(place / "orders"),
        NAME: name,
    }
    if hasty:
        ours |= {haste.HASTE: "1", "HOLDFAST_GATEWAY_TIMEOUT_SECONDS": haste.GATEWAY_TIMEOUT_SECONDS}
    module = f"chaos.doomed_{name.rstrip('12')}"
    argv = (sys.executable, "-P", "-m", module)
    env = inherited | endpoints.environment() | ours
    return Command(name, argv, place / f"{name}.log", env, cwd=place, stop=_STOP)


def _wait(made: Stage) -> None:
    give_up = time.monotonic() + _READY_SECONDS
    for number, address in enumerate(made.addresses, 1):
        while not _ready(address):
            if time.monotonic() > give_up:
                raise RuntimeError(f"api{number} did not start:\n{made.running[f'api{number}'].output()[-3000:]}")
            time.sleep(_LOOK_AGAIN_SECONDS)


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _end(made: Stage) -> None:
    """Ask all of ours to end, then wait for them."""
    for child in made.running.values():
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
    for child in made.running.values():
        child.stop()
