"""``make storm``: two APIs, two workers, many clients, and what is killed comes back. Does it add up at the end?

Afterwards: nothing but 503 above 499, one effect per idempotency key, every hash and every sum of the books whole, and
what the provider moved is what we believe it moved.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from benchmarks import marketday
from benchmarks.figures import Figure
from benchmarks.marketday import Caller, Ledger
from ledger.audit import verify
from ledger.engine import connect
from starter.embedded.stack import Endpoints, Stack
from tests.gateway.sandbox_process import free_port

_ROOT: Final = Path(__file__).resolve().parents[1]
_WEALTH: Final = 100_000_000_000
_SELLERS: Final = 10
_LOOK_AGAIN_SECONDS: Final = 0.05
_READY_SECONDS: Final = 60.0
_SETTLE_SECONDS: Final = 120.0
_ONE_SETTLEMENT: Final = """
SELECT count(*) FROM (SELECT command_id FROM settlement GROUP BY tenant_id, command_id HAVING count(*) > 1) twice
"""
_PAID: Final = "SELECT id || ':' || generation, amount FROM payout WHERE status = 'paid'"
_IN_FLIGHT: Final = """
SELECT count(*) FROM payout WHERE hold IS NULL AND status IN ('due', 'in_transit', 'unknown')
"""


@dataclass(frozen=True)
class Plan:
    """How long, how many clients, and every how many seconds something is killed (0: nothing is)."""

    seconds: float
    clients: int
    kill_every: float
    victims: tuple[str, ...]
    seed: int


@dataclass
class Process:
    """A process of ours that is started again whenever it dies."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    log: Path
    running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self.log.open("ab") as output:
            self.running = subprocess.Popen(self.argv, cwd=_ROOT, env=self.env, stdout=output, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """kill -9, and start it again."""
        if self.running:
            self.running.kill()
            self.running.wait()
        self.start()

    def stop(self) -> None:
        """End it."""
        if self.running:
            self.running.terminate()
            try:
                self.running.wait(45)
            except subprocess.TimeoutExpired:
                self.running.kill()


@dataclass
class Weather:
    """Kills one thing after the other until the day is over."""

    plan: Plan
    processes: dict[str, Process]
    home: Path
    killed: Counter[str] = field(default_factory=Counter)

    def blow(self, over: threading.Event) -> None:
        """Kill what chance picks, every so often."""
        chance = random.Random(self.plan.seed)  # noqa: S311 - chance, nothing secret
        while self.plan.kill_every and not over.wait(self.plan.kill_every * (0.5 + chance.random())):
            name = chance.choice(self.plan.victims)
            self.killed[name] += 1
            if name in self.processes:
                self.processes[name].kill()
            else:
                self._kill_server(name)

    def _kill_server(self, name: str) -> None:
        children = json.loads((self.home / "children.json").read_text())
        pid = next((one["pid"] for one in children if one["name"] == name), None)
        if pid:
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Outcome:
    """What came of it; ``wrong`` is what must not be."""

    plan: Plan
    seen: Ledger
    killed: Counter[str]
    seconds: float
    wrong: list[str]


def run(plan: Plan, tell: "Console | None" = None) -> Outcome:
    """Bring everything up in a temporary directory, let the day pass, take stock."""
    with tempfile.TemporaryDirectory(prefix="holdfast-storm-") as place, ExitStack() as ending:
        home = Path(place) / "stack"

        def say(line: str) -> None:
            if tell:
                tell.print(line)

        stack = Stack(home, progress=lambda line: say(f"  {line}"), worker=False)
        endpoints = ending.enter_context(stack)
        over = threading.Event()
        supervisor = threading.Thread(target=stack.supervise, args=(over,), name="supervisor")
        supervisor.start()
        ending.callback(supervisor.join)
        ending.callback(over.set)
        processes, addresses = _processes(endpoints, Path(place))
        for process in processes.values():
            process.start()
            ending.callback(process.stop)
        _wait(addresses, processes)
        weather = Weather(plan, processes, home)
        calm = threading.Event()
        wind = threading.Thread(target=weather.blow, args=(calm,), name="weather")
        key = asyncio.run(_market(endpoints, addresses[0], plan))
        wind.start()
        say(f"{plan.clients} clients for {plan.seconds:.0f} s, seed {plan.seed}")
        began = time.monotonic()
        try:
            seen = asyncio.run(_day(plan, key, addresses))
        finally:
            calm.set()
            wind.join()
        seconds = time.monotonic() - began
        say("taking stock")
        return Outcome(plan, seen, weather.killed, seconds, _stock(seen, endpoints, home))


async def _day(plan: Plan, key: str, addresses: list[str]) -> Ledger:
    seen = Ledger()
    limits = httpx.Limits(max_connections=plan.clients * 4)
    async with httpx.AsyncClient(trust_env=False, limits=limits) as http:
        end = time.monotonic() + plan.seconds

        async def client(number: int) -> None:
            chance = random.Random(plan.seed * 1000 + number)  # noqa: S311 - chance, nothing secret
            caller = Caller(http, addresses, key, seen, chance)
            while time.monotonic() < end:
                await marketday.deal(caller, f"buyer{number}", f"seller{number % _SELLERS}")

        await asyncio.gather(*map(client, range(plan.clients)))
    return seen


async def _market(endpoints: Endpoints, address: str, plan: Plan) -> str:
    """Make a tenant whose buyers have money; answers the platform's key."""
    async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=60) as http:

        async def tell(bearer: str, method: str, path: str, body: object) -> dict[str, str]:
            headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": f"storm {path}".replace(" ", "-")}
            answer = await http.request(method, path, json=body, headers=headers)
            answer.raise_for_status()
            told: dict[str, str] = answer.json()
            return told

        tenant = {"name": "Storm", "reporting_currency": "EUR"}
        key = (await tell(endpoints.bootstrap_secret, "POST", "/v1/tenants", tenant))["test_key"]
        rules = [{"outcome": one, "rate": "0.10"} for one in ("release", "refund", "split", "reversal")]
        await tell(key, "POST", "/v1/policies/fees", {"rules": rules})
        for number in range(_SELLERS):
            await tell(key, "PUT", f"/v1/parties/seller{number}", {"payout_destination": f"acct_storm{number}"})
        for number in range(plan.clients):
            top_up = {"amount": _WEALTH // plan.clients, "currency": "EUR", "payment_method": "pm_card_visa"}
            await tell(key, "POST", f"/v1/wallets/buyer{number}/topups", top_up)
    return key


def _processes(endpoints: Endpoints, place: Path) -> tuple[dict[str, Process], list[str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    ours = {"PYTHONUNBUFFERED": "1", "TEMPORAL_CONFIG_FILE": os.devnull, "HOLDFAST_API_REQUESTS_PER_SECOND": "10000"}
    env = inherited | endpoints.environment() | ours
    made, addresses = {}, []
    for number in (1, 2):
        port = free_port()
        addresses.append(f"http://127.0.0.1:{port}")
        names = (f"api{number}", f"worker{number}")
        argv = (sys.executable, "-P", "-m", "starter.api"), (sys.executable, "-P", "-m", "worker")
        for name, command in zip(names, argv, strict=True):
            path = {"PYTHONPATH": str(_ROOT), "HOLDFAST_API_PORT": str(port)}
            made[name] = Process(name, command, env | path, place / f"{name}.log")
    return made, addresses


def _wait(addresses: list[str], processes: dict[str, Process]) -> None:
    give_up = time.monotonic() + _READY_SECONDS
    apis = (one for name, one in processes.items() if name.startswith("api"))
    for address, process in zip(addresses, apis, strict=True):
        while not _ready(address):
            if time.monotonic() > give_up:
                raise RuntimeError(f"{process.name} did not start:\n{process.log.read_text()[-3000:]}")
            time.sleep(_LOOK_AGAIN_SECONDS)


def _ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", trust_env=False, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _stock(seen: Ledger, endpoints: Endpoints, home: Path) -> list[str]:
    """What is wrong, in words."""
    wrong = [*seen.odd, *(f"no definite answer: {one}" for one in seen.given_up)]
    wrong += [f"different answers under one key: {key}: {said}" for key, said in seen.answers.items() if len(said) > 1]
    engine = connect(endpoints.database_url, 2)
    try:
        give_up = time.monotonic() + _SETTLE_SECONDS
        while True:
            with engine.connect() as connection:
                in_flight = connection.execute(text(_IN_FLIGHT)).scalar_one()
            if not in_flight or time.monotonic() > give_up:
                break
            time.sleep(_LOOK_AGAIN_SECONDS * 10)
        if in_flight:
            wrong.append(f"{in_flight} payouts never arrived")
        found = verify(engine)
        wrong += [f"the books: {one}" for one in found.findings]
        with engine.connect() as connection:
            if connection.execute(text(_ONE_SETTLEMENT)).scalar_one():
                wrong.append("a command has two settlements")
            paid = {row[0]: row[1] for row in connection.execute(text(_PAID))}
        wrong += _against_the_provider(paid, home / "sandbox.db")
    finally:
        engine.dispose()
    return wrong


def _against_the_provider(paid: dict[str, int], books: Path) -> list[str]:
    """The provider's transfers, by our key, are our payouts: each once, each to the unit."""
    with sqlite3.connect(f"file:{books}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT body FROM objects WHERE kind = 'transfer'").fetchall()
    sent = [json.loads(row[0]) for row in rows]
    keys = Counter(one["metadata"]["holdfast_key"] for one in sent)
    wrong = [f"sent {times} times: {key}" for key, times in keys.items() if times > 1]
    moved = {one["metadata"]["holdfast_key"]: one["amount"] for one in sent}
    if moved != paid:
        differ = set(moved.items()) ^ set(paid.items())
        wrong.append(f"the provider and the books differ in {len(differ)} payouts, such as {sorted(differ)[:3]}")
    return wrong


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def told(outcome: Outcome) -> Iterator[Table]:
    """The outcome as tables."""
    seen = outcome.seen
    commands = Table("command", "accepted", "refused, as what", title="Commands with a definite answer")
    for name, outcomes in sorted(seen.commands.items()):
        refused = ", ".join(f"{code} {times}" for code, times in outcomes.items() if code != "ok")
        commands.add_row(name, str(outcomes["ok"]), refused)
    yield commands
    facts = Table("", "", title=f"{outcome.plan.clients} clients, {outcome.seconds:.0f} s, seed {outcome.plan.seed}")
    approvals = sorted(seen.approvals)
    for name, value in (
        ("deals", seen.deals),
        ("answers by status", ", ".join(f"{status}: {times}" for status, times in sorted(seen.statuses.items()))),
        ("connections that broke", sum(seen.broken.values())),
        ("requests sent to two APIs at once", seen.twice),
        ("milestones fought over", seen.at_odds),
        ("killed", ", ".join(f"{name} {times}" for name, times in sorted(outcome.killed.items())) or "nothing"),
        ("approve to released, median", f"{statistics.median(approvals) * 1000:.0f} ms" if approvals else "-"),
        ("approve to released, 99th percentile", f"{percentile(approvals, 0.99) * 1000:.0f} ms"),
        ("longest wait for a definite answer", f"{seen.longest_wait:.1f} s"),
        ("wrong", len(outcome.wrong)),
    ):
        facts.add_row(name, str(value))
    yield facts


def measure(seconds: float, clients: int) -> list[Figure]:
    """How long an approval takes over HTTP, from the request until its money is released, while others trade too."""
    outcome = run(Plan(seconds, clients, 0, (), 1))
    if outcome.wrong:
        raise RuntimeError(f"the figures of a broken run mean nothing: {outcome.wrong[:3]}")
    taken = [one * 1000 for one in outcome.seen.approvals]
    what = f"approve to released over HTTP, {clients} clients on 2 APIs and 2 workers"
    return [
        Figure(f"{what}, median", statistics.median(taken), "ms"),
        Figure(f"{what}, 99th percentile", percentile(taken, 0.99), "ms"),
        Figure(f"{what}, commands", sum(sum(one.values()) for one in outcome.seen.commands.values()) / seconds, "1/s"),
    ]


VICTIMS: Final = ("api1", "api2", "worker1", "worker2", "temporal", "postgres", "sandbox")


def main() -> None:
    """Run a day and say what came of it; exit code 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=50, help="how many at a time (default: %(default)s)")
    parser.add_argument("--kill-every", type=float, default=10, help="seconds between kills; 0 is never")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of chance (default: the time)")
    options = parser.parse_args()
    console = Console()
    plan = Plan(options.minutes * 60, options.clients, options.kill_every, VICTIMS, options.seed)
    outcome = run(plan, console)
    for table in told(outcome):
        console.print(table)
    for one in outcome.wrong[:20]:
        console.print(f"WRONG: {one}")
    sys.stdout.flush()
    os._exit(1 if outcome.wrong else 0)  # the SDK's threads can crash a finalizing interpreter


if __name__ == "__main__":
    main()
