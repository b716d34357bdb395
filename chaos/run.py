"""One run from an empty directory to its outcome: stage, load and weather together, and the reckoning at the end."""

import asyncio
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from chaos import endings, floors, marketday, stock
from chaos.callers import Attempt, Seen
from chaos.plan import Plan
from chaos.stage import Stage, stage
from chaos.weather import Fault, Weather

_ASK_FOR_SECONDS: Final = 60.0
_LOOK_AGAIN_SECONDS: Final = 0.2
_TELL_EVERY_SECONDS: Final = 20.0


@dataclass(frozen=True)
class Recovery:
    """From the first request after the end of a fault that needed the victim, until the first of them was answered."""

    seconds: float
    fault: Fault


@dataclass(frozen=True)
class Outcome:
    """What came of a run. ``kept`` is where logs and data are, if they are."""

    plan: Plan
    seen: Seen
    faults: list[Fault]
    injected: Counter[str]
    seconds: float
    reckoning: stock.Reckoning
    in_vain: list[str] = field(default_factory=list)
    kept: Path | None = None

    @property
    def wrong(self) -> list[str]:
        """What must not be, in words."""
        return self.reckoning.wrong

    @property
    def struck(self) -> set[str]:
        """The victims and points that were hit, however."""
        return {fault.victim for fault in self.faults}

    def recoveries(self) -> list[Recovery]:
        """How long each fault was felt after its end, the longest first; without those that no request came after."""
        found = ((_recovered(fault, self.seen.attempts), fault) for fault in self.faults)
        return sorted((Recovery(took, one) for took, one in found if took is not None), key=lambda one: -one.seconds)


def run(plan: Plan, say: Callable[[str], None] = lambda _: None, keep: Path | None = None) -> Outcome:
    """Bring everything up, let the day pass, take stock. What went wrong is kept, logs and all; or all, in ``keep``."""
    place = keep or Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)  # PostgreSQL may be another user, and has to pass here
    good = False
    try:
        with stage(place, say, hasty=plan.hasty) as on:
            outcome = _played(plan, on, say)
        good = not outcome.wrong and keep is None
    finally:
        if good:
            shutil.rmtree(place, ignore_errors=True)
        else:
            say(f"logs and data are in {place}")
    return outcome if good else Outcome(**{**vars(outcome), "kept": place})


def _played(plan: Plan, on: Stage, say: Callable[[str], None]) -> Outcome:
    markets = asyncio.run(marketday.open_markets(on.endpoints, on.addresses[0], plan.load))
    sandbox = on.endpoints.stripe_api_base
    if plan.provider:
        httpx.put(f"{sandbox}/sandbox/plan", json=plan.provider, trust_env=False, timeout=10).raise_for_status()
    weather, end = Weather(on, plan.gusts(), plan.seed), threading.Event()
    sky = ThreadPoolExecutor(2, thread_name_prefix="sky")
    say(f"{plan.load.clients} clients, seed {plan.seed}")
    began = time.monotonic()
    blowing, shining = sky.submit(weather.blow), sky.submit(_sun, plan, weather, end, say)
    try:
        seen = asyncio.run(marketday.trade(plan.load, markets, on.addresses, sandbox, plan.seed, end))
        weather.calm.set()
        seconds = time.monotonic() - began
        say(f"the day is over after {seconds:.0f} s: taking stock")
        if plan.provider:
            _behave(sandbox, plan)
        marketday.banks_decide(sandbox, on.home / "sandbox.db", plan.seed)
        tenants = [market.tenant for market in markets]
        unrepaired = _repaired(weather, say)
        terminated = weather.meddler.terminated
        found = stock.take_stock(seen, on.endpoints, on.home, tenants, plan.patience, say, terminated)
        in_vain, unordered = endings.sort_out(on.ended, weather.faults)
        found.add([*unrepaired, *weather.meddler.wrong, *unordered])
        found.add(list(endings.unheard_of(on.logs)), "logs")
        outcome = Outcome(plan, seen, weather.faults, _injected(sandbox), seconds, found, in_vain)
        found.add(list(_too_little(outcome)))
        return outcome
    finally:
        end.set()
        weather.over.set()
        shining.result()
        blowing.result()  # had it failed, nothing would have been started again


def _sun(plan: Plan, weather: Weather, end: threading.Event, say: Callable[[str], None]) -> None:
    """End the day when its time has come, or when nothing more is to happen; tell now and then how far it is."""
    if plan.seconds is None:
        while not (weather.spent.wait(0.2) or end.is_set()):
            pass
    began = time.monotonic()
    while (left := began + (plan.seconds or 0) - time.monotonic()) > 0:
        if end.wait(min(left, _TELL_EVERY_SECONDS)):
            break
        say(f"{time.monotonic() - began:.0f} of {plan.seconds or 0:.0f} s, {len(weather.faults)} faults")
    weather.calm.set()
    end.set()


def _repaired(weather: Weather, say: Callable[[str], None]) -> list[str]:
    """Have what was meddled with repaired, as operators do afterwards; answers what was left."""
    while weather.meddles:
        time.sleep(_LOOK_AGAIN_SECONDS)
    if not {fault.victim for fault in weather.faults} & {"workflow", "temporal-data"}:
        return []
    say("holdfast repair")
    give_up = time.monotonic() + _ASK_FOR_SECONDS
    while time.monotonic() < give_up:
        if weather.meddler.repaired():
            return []
        time.sleep(_LOOK_AGAIN_SECONDS)
    return ["holdfast repair leaves something to be seen to"]


def _too_little(outcome: Outcome) -> Iterator[str]:
    return floors.below(
        outcome.plan.floors,
        len(outcome.faults),
        outcome.injected.total(),
        outcome.reckoning.payouts,
        outcome.seen.commands,
        outcome.struck,
    )


def _behave(sandbox: str, plan: Plan) -> None:
    """Nothing new goes wrong with the provider, and what it has begun it ends: money collected later still comes."""
    kind = {"seed": plan.seed, "happenings": plan.provider["happenings"][1:]}
    _patiently(lambda: httpx.put(f"{sandbox}/sandbox/plan", json=kind, trust_env=False, timeout=5).raise_for_status())


def _injected(sandbox: str) -> Counter[str]:
    found: Counter[str] = Counter()

    def ask() -> None:
        found.update(httpx.get(f"{sandbox}/sandbox/injected", trust_env=False, timeout=5).raise_for_status().json())

    _patiently(ask)
    return found


def _patiently(ask: Callable[[], object]) -> None:
    """Ask the sandbox until it answers: it may be on its way up."""
    give_up = time.monotonic() + _ASK_FOR_SECONDS
    while time.monotonic() < give_up:
        with suppress(httpx.HTTPError):
            ask()
            return
        time.sleep(0.1)
    raise RuntimeError("the sandbox does not come back")


def _recovered(fault: Fault, attempts: list[Attempt]) -> float | None:
    if fault.ended is None:
        return None
    ended = fault.ended
    after = [one for one in attempts if one.sent >= ended and _needs(fault, one)]
    answered = [one.answered for one in after if one.answered is not None]
    return min(answered) - min(one.sent for one in after) if answered else None


def _needs(fault: Fault, attempt: Attempt) -> bool:
    """Whether its answer shows that the victim works again: an API by itself, the rest by what needs it."""
    if fault.struck.startswith("api"):
        return attempt.api == fault.struck
    if fault.victim == "sandbox":
        return attempt.reaches == "money"
    return attempt.reaches != "read" or fault.victim in {"postgres", "backend"}
