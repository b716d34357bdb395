"""What a run is to be: how long, how many clients, which faults, and what the provider does wrong meanwhile."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from chaos import deals, haste, weather
from chaos.floors import NONE, SHORTEST_MINUTES, Floors, of_minutes
from chaos.marketday import Load
from chaos.meddling import MEDDLED
from chaos.points import POINTS


@dataclass(frozen=True)
class Plan:
    """One run. Without ``seconds`` the day ends when the ``gusts`` are spent; rest may take ``patience`` seconds. What
    stays below the ``floors`` is wrong.
    """

    seed: int
    load: Load
    gusts: Callable[[], Iterable[weather.Gust]]
    provider: dict[str, Any]
    seconds: float | None = None
    hasty: bool = False
    patience: float = 900.0
    floors: Floors = NONE

    @property
    def proves_little(self) -> bool:
        """Whether a run by chance is too short to have floors."""
        return self.seconds is not None and self.seconds < SHORTEST_MINUTES * 60


def long(minutes: float, clients: int, every: float, seed: int) -> Plan:
    """Faults at random, about one every ``every`` seconds, on the product's own timeouts. In the middle of the run all
    of Temporal's data is lost.
    """
    load, seconds = Load(clients, hurried=max(1, clients // 10)), minutes * 60
    least = of_minutes(minutes, every, frozenset(MEDDLED) if minutes >= _MEDDLED_FROM_MINUTES else frozenset())
    trouble = provider(seed) | {"forget_keys_after_seconds": _FORGETS_AFTER_SECONDS}
    return Plan(seed, load, lambda: weather.by_chance(seed, every, seconds / 2), trouble, seconds, floors=least)


def quick(seed: int = 7) -> Plan:
    """Every kind of fault once but the loss of Temporal's data, with timeouts that are a few seconds."""
    struck = frozenset({*POINTS, *weather.VICTIMS, *MEDDLED} - {"temporal-data"})
    least = Floors(len(struck), injected=6, payouts=3, commands={"approve": 3, "fund": 3}, struck=struck)
    trouble = provider(seed, likely=2.0) | {"forget_keys_after_seconds": haste.FORGETS_AFTER_SECONDS}
    load = Load(5, hurried=1)
    return Plan(seed, load, weather.everything_once, trouble, hasty=True, patience=60.0, floors=least)


def calm(seconds: float, clients: int) -> Plan:
    """Plain deals and no faults: what the benchmark measures."""
    load = Load(clients, kinds=deals.PLAIN, contests=False)
    return Plan(1, load, lambda: (), {}, seconds)


_MEDDLED_FROM_MINUTES: Final = 3
# Longer than the time after which a worker asks before it sends again, and much less than what Stripe promises.
_FORGETS_AFTER_SECONDS: Final = 1500
_OUTBOUND: Final = ["charge", "transfer"]


def provider(seed: int, likely: float = 1.0) -> dict[str, Any]:
    """The sandbox's fault plan (docs/sandbox.md). ``likely`` times as much goes wrong as in an hour's run."""

    def request(fault: str, probability: float, operation: Any = _OUTBOUND, **more: Any) -> dict[str, Any]:
        return {"operation": operation, "fault": fault, "probability": min(1.0, probability * likely)} | more

    return {
        "seed": seed,
        "requests": [
            request("delay", 0.02, seconds=2.0),
            request("delay_after", 0.02, seconds=8.0),
            request("error_before", 0.02),
            request("error_after", 0.02),
            request("drop_before", 0.01),
            request("drop_reply_after", 0.02),
            request("reset_before", 0.01),
            request("reset_after", 0.02),
            request("rate_limit", 0.02, [*_OUTBOUND, "look_up"], retry_after=1),
            request("pending", 0.01, "charge"),
            request("decline", 0.01, "transfer", code="account_closed"),
            request("restart_before", 0.002),
            request("restart_after", 0.002),
            request("error_before", 0.1, "look_up", attempt=1),
        ],
        "happenings": [
            {"after": "transfer", "happening": "reverse", "probability": min(1.0, 0.02 * likely), "seconds": 2},
            {"after": "charge", "happening": "collect", "probability": 1, "seconds": 3},
        ],
        "webhooks": {
            "lost": min(1.0, 0.05 * likely),
            "duplicate": {"probability": 0.2, "times": 2, "seconds": 1},
            "late": {"probability": 0.2, "seconds": 4},
            "out_of_order": {"probability": 0.2, "seconds": 3},
        },
    }
