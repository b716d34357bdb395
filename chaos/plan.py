"""What a run is to be: how long, how many clients, which faults, and what the provider does wrong meanwhile."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from chaos import deals, weather
from chaos.marketday import Load


@dataclass(frozen=True)
class Plan:
    """One run. Without ``seconds`` the day ends when the ``gusts`` are spent; rest may take ``patience`` seconds."""

    seed: int
    load: Load
    gusts: Callable[[], Iterable[weather.Gust]]
    provider: dict[str, Any]
    seconds: float | None = None
    hasty: bool = False
    patience: float = 900.0


def long(minutes: float, clients: int, every: float, seed: int) -> Plan:
    """Faults at random, about one every ``every`` seconds, on the product's own timeouts."""
    load = Load(clients, hurried=max(1, clients // 10))
    return Plan(seed, load, lambda: weather.by_chance(seed, every), provider(seed), minutes * 60)


def quick(seed: int = 7) -> Plan:
    """Every kind of fault once, with timeouts that are a few seconds."""
    return Plan(
        seed, Load(5, hurried=1), weather.everything_once, provider(seed, likely=2.0), hasty=True, patience=60.0
    )


def calm(seconds: float, clients: int) -> Plan:
    """Plain deals and no faults: what the benchmark measures."""
    load = Load(clients, kinds=deals.PLAIN, contests=False)
    return Plan(1, load, lambda: (), {}, seconds)


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
