"""Policies of every shape out of a few small numbers, as the JSON that a tenant would write."""

from datetime import timedelta
from typing import Any, Final

from models.payout_terms import PayoutTerms
from models.policies import ReleasePolicy

RATES: Final = ("0.10", "0.0333", "0.5", "0.025", "0", "0.075", "0.29", "1", "0.10", "0.125")
BANDS: Final = [{"from": 0, "rate": "0.2"}, {"from": 150, "rate": "0.1"}, {"from": 600, "rate": "0.025"}]
PAYERS: Final = ("seller", "buyer", "both", "seller")
DISPUTE_FEES: Final[tuple[dict[str, Any] | None, ...]] = (
    None, {"amount": 15, "payer": "loser"}, {"amount": 41, "payer": "split"}, None,
    {"amount": 7, "payer": "buyer"}, {"amount": 300, "payer": "seller"}, {"amount": 90, "payer": "loser"},
)  # fmt: skip


def _priced(shape: int, rate: str) -> dict[str, Any]:
    """One way to price: by a rate, with fixed amounts and limits, or by tiers of every kind."""
    tiers = {"bands": BANDS, "mode": ("graduated", "whole_volume")[shape % 2]}
    ways: tuple[dict[str, Any], ...] = (
        {"rate": rate},
        {"rate": rate, "fixed": 3},
        {"rate": rate, "minimum": 5, "maximum": 40},
        {"fixed": 12},
        {"tiers": tiers | {"basis": "party_volume"}},
        {"tiers": tiers | {"basis": "party_volume"}},
        {"tiers": tiers | {"basis": "deal_amount"}, "fixed": 1},
        {"tiers": tiers | {"basis": "deal_amount"}, "minimum": 4},
    )
    return ways[shape % 8]


def fee_policy(rate: int, shape: int, payer: int, more: int) -> dict[str, Any]:
    """A fee policy; ``more`` picks the dispute fee, the pinning, a category of its own, and which rule is missing."""
    who = PAYERS[payer % 4]
    rules = [{"outcome": "release", "payer": who} | _priced(shape, RATES[rate % 10])]
    if more % 4 == 3:
        rules.append({"outcome": "release", "payer": PAYERS[(payer + 1) % 4], "category": "web", "rate": "0.0333"})
    both = who != "seller" and more % 4 != 3
    rules.append({"outcome": "split", "payer": who if both else "seller"} | _priced(shape + payer, RATES[more % 10]))
    rules.append({"outcome": "refund"} | ({"rate": "0"} if more % 3 else {"rate": "0.05", "fixed": 2}))
    rules.append({"outcome": "reversal"} | _priced(more % 3 if more % 2 else 0, "0" if more % 2 else "0.025"))
    gone = {19: "release", 18: "refund", 17: "split", 16: "reversal"}.get(more)
    policy: dict[str, Any] = {"pin_at": "funding" if more % 3 == 1 else "release"}
    policy["rules"] = [one for one in rules if one["outcome"] != gone]
    if gone == "release":
        policy["rules"] = [one | {"payer": "seller"} for one in policy["rules"]]
    if fee := DISPUTE_FEES[more % 7]:
        policy["dispute_fee"] = fee
    return policy


def terms(mode: int, trigger: int, minimum: int, more: int) -> dict[str, Any]:
    """A release policy in plain numbers of hours and units."""
    return {
        "mode": "manual" if mode == 9 else "auto",
        "window": (72, 24, 336)[mode % 3],
        "reminders": ((), (12,), (6, 20))[more % 3],
        "evidence": more == 9,
        "limit": 2 if more == 8 else 3,
        "rounds": 1 + more % 2,
        "trigger": ("event", "event", "time", "manual", "time", "event")[trigger % 6],
        "clearance": 48 if trigger % 6 == 2 else None,
        "minimum": (0, 0, 60, 250)[minimum % 4],
        "retry_after": (1, 5)[more % 2],
        "retries": (5, 2, 0)[minimum % 3],
        "rate_age": (168, 48)[more == 7],
    }


def release_policy(plain: dict[str, Any]) -> ReleasePolicy:
    """The document for the plain numbers."""

    def hours(number: int) -> timedelta:
        return timedelta(hours=number)

    payout = PayoutTerms(
        trigger=plain["trigger"],
        clearance=hours(plain["clearance"]) if plain["clearance"] else None,
        minimum=plain["minimum"],
        retry_after=hours(plain["retry_after"]),
        retries=plain["retries"],
    )
    return ReleasePolicy(
        mode=plain["mode"],
        review_window=hours(plain["window"]),
        reminders=tuple(hours(one) for one in plain["reminders"]),
        evidence_required=plain["evidence"],
        max_milestones=plain["limit"],
        max_rejections=plain["rounds"],
        payout=payout,
        max_rate_age=hours(plain["rate_age"]),
    )
