"""The weather: kills, stops and meddles, at random by a seed or by a script, and starts and resumes all of it again."""

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle, zip_longest
from typing import Final

from chaos.meddling import MEDDLED, Meddler, Meddling
from chaos.points import POINTS, Action
from chaos.stage import OURS, SERVERS, Stage

VICTIMS: Final = (*OURS, *SERVERS, "backend")
_TICK_SECONDS: Final = 0.05
# Longer than a claim's lease and an attempt's start-to-close: its work is another's by the time that it wakes up.
_ZOMBIE_SECONDS: Final = (35.0, 45.0)
_PAUSE_SECONDS: Final = (1.0, 12.0)
_MEDDLES_EACH: Final = 4
_BROKEN_SECONDS: Final = (1.0, 30.0)  # until somebody repairs what was terminated
_MEDDLINGS: Final = ("workflow", "workflow", "reconciliation", "repair")


@dataclass
class Fault:
    """Something to be done to a victim: a process by name, the first that passes a point, or what is meddled with. The
    action is ``kill``, ``pause`` or one of ``MEDDLED``. Times are of the epoch.

    ``began`` is None until it happened, ``ended`` until the process was resumed (a kill has ended as it happens).
    """

    action: Action | Meddling
    victim: str
    seconds: float = 0.0
    struck: str = ""
    pids: tuple[int, ...] = ()
    began: float | None = None
    ended: float | None = None

    @property
    def kind(self) -> str:
        """What to count it as."""
        return f"{self.action} {self.victim}"


@dataclass(frozen=True)
class Gust:
    """A fault, and how many seconds to wait before it."""

    wait: float
    fault: Fault


def by_chance(seed: int, every: float, lose_after: float | None = None) -> Iterator[Gust]:
    """Faults without end: one about ``every`` seconds, of which every fourth meddles; half of the others are at a named
    point. After about ``lose_after`` seconds all of Temporal's data is lost, once.
    """
    chance = random.Random(seed)  # noqa: S311 - chance, nothing secret
    meddling, passed = cycle(chance.sample(_MEDDLINGS, len(_MEDDLINGS))), 0.0
    for number in count(1):
        wait = every * (0.5 + chance.random())
        passed += wait
        if lose_after is not None and passed > lose_after:
            lose_after = None
            yield Gust(wait, _meddling("temporal-data"))
            continue
        if number % _MEDDLES_EACH == 0:
            yield Gust(wait, _meddling(next(meddling), chance.uniform(*_BROKEN_SECONDS)))
            continue
        victim = chance.choice(tuple(POINTS)) if chance.random() < 0.5 else chance.choice(VICTIMS)
        action: Action = "kill" if chance.random() < 0.6 else "pause"
        ours = victim in OURS or victim in POINTS
        span = _ZOMBIE_SECONDS if ours and chance.random() < 0.25 else _PAUSE_SECONDS
        seconds = chance.uniform(*span) if action == "pause" else 0.0
        yield Gust(wait, Fault(action, victim, seconds))


def _meddling(victim: str, seconds: float = 0.0) -> Fault:
    return Fault(MEDDLED[victim], victim, seconds if MEDDLED[victim] == "terminate" else 0.0)


_OF_A_ROUND: Final = ("worker-reconciling", "worker-healing")
# Stopped, not killed: each is a zombie that wakes up when its work has been given to another.
_STOPPED_AT: Final = {"worker-ledger-first": 7.5, "worker-event-judged": 6.0, "api-claimed": 4.5}


def everything_once() -> list[Gust]:
    """The short script: every point struck, every victim killed or stopped, the servers both, a workflow terminated and
    a repair in between; about half a minute. A round of reconciliation begins early, so that its points are passed.
    """
    struck = [Fault("pause" if one in _STOPPED_AT else "kill", one, _STOPPED_AT.get(one, 0.0)) for one in POINTS]
    killed = [Fault("kill", victim) for victim in (*SERVERS, "backend", "api2", "worker2")]
    stopped = [Fault("pause", victim, 1.5) for victim in ("backend", "api1", "worker1", *SERVERS)]
    struck.sort(key=lambda one: (one.victim not in _OF_A_ROUND, one.action == "kill"))  # what takes long begins early
    meddled = [_meddling("reconciliation"), _meddling("workflow"), _meddling("repair")]
    ordered = [one for four in zip_longest(struck, killed, meddled, stopped) for one in four if one]
    return [Gust(0.7, one) for one in ordered]


@dataclass
class Weather:
    """Carries faults out, and looks after everything meanwhile. ``calm`` ends the faults, ``over`` everything.

    ``spent`` is set when there are no more faults to come and all of them have happened.
    """

    stage: Stage
    gusts: Iterable[Gust]
    seed: int = 0
    faults: list[Fault] = field(default_factory=list)
    calm: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    spent: threading.Event = field(default_factory=threading.Event)
    _ordered: dict[str, Fault] = field(default_factory=dict)
    _under_way: "list[tuple[Fault, Future[str | None]]]" = field(default_factory=list)

    def __post_init__(self) -> None:
        self.meddler = Meddler(self.stage, random.Random(self.seed), self.calm)  # noqa: S311 - chance, nothing secret

    def blow(self) -> None:
        """Run in a thread of its own until ``over``."""
        gusts = iter(self.gusts)
        coming = next(gusts, None)
        due = time.time() + (coming.wait if coming else 0)
        try:
            while not self.over.wait(_TICK_SECONDS):
                self.stage.tend()
                self._collect()
                self._resume(time.time())
                if self.calm.is_set():
                    self._quieten()
                elif coming and time.time() >= due and self._happened(coming.fault):
                    coming = next(gusts, None)
                    due = time.time() + (coming.wait if coming else 0)
                if coming is None and not self._ordered and not self._under_way:
                    self.spent.set()
        finally:
            self._quieten()
            self._resume(float("inf"))
            self.meddler.rest()

    @property
    def meddles(self) -> bool:
        """Whether something is under way that takes its time."""
        return bool(self._under_way)

    def counted(self) -> Counter[str]:
        """How many faults of each kind there were."""
        return Counter(fault.kind for fault in self.faults)

    def _happened(self, fault: Fault) -> bool:
        """Carry a fault out; False while its victim is not there to be hurt."""
        if fault.victim in MEDDLED:
            self._under_way.append((fault, self.meddler.meddle(fault.victim, fault.seconds)))
            return True
        if fault.victim in POINTS:
            if not self.stage.orders.given(fault.victim):
                action: Action = "kill" if fault.action == "kill" else "pause"
                self.stage.orders.give(fault.victim, action, fault.seconds)
                self._ordered[fault.victim] = fault
            return True
        asleep = {pid for one in self.faults if one.began and one.ended is None for pid in one.pids}
        pids = self.stage.pids(fault.victim)
        if not pids or asleep & set(pids):
            return False
        if fault.action == "kill":
            pids = pids[:1]
        number = signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP
        with suppress(ProcessLookupError):
            for pid in pids:
                os.kill(pid, number)
        self._note(fault, fault.victim, tuple(pids), time.time())
        return True

    def _note(self, fault: Fault, struck: str, pids: tuple[int, ...], at: float) -> None:
        fault.struck, fault.pids, fault.began = struck, pids, at
        fault.ended = None if fault.action == "pause" else at
        self.faults.append(fault)

    def _collect(self) -> None:
        for strike in self.stage.orders.collect():
            self._note(self._ordered.pop(strike.point), strike.name, (strike.pid,), strike.at)
        for fault, doing in [one for one in self._under_way if one[1].done()]:
            self._under_way.remove((fault, doing))
            if hit := doing.result():
                self._note(fault, hit, (), time.time())

    def _quieten(self) -> None:
        for point in self.stage.orders.withdraw():
            self._ordered.pop(point, None)

    def _resume(self, now: float) -> None:
        for fault in self.faults:
            if fault.began and fault.ended is None and now >= fault.began + fault.seconds:
                fault.ended = time.time()
                for pid in fault.pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
