"""The money arithmetic of domain.md, 5, written down a second time: naively, in whole units and fractions.

Nothing here may come from ``models``: the stateful test compares the two. A rule is the plain JSON a tenant writes.
"""

from fractions import Fraction
from typing import Any

Rule = dict[str, Any]


def half_up(exact: Fraction) -> int:
    """Round to the nearest unit, a half upwards."""
    return (exact + Fraction(1, 2)).__floor__()


def rule_for(policy: dict[str, Any] | None, outcome: str, category: str) -> Rule | None:
    """The rule of the exact category, or else of ``*``."""
    if policy is None:
        return None
    for wanted in (category, "*"):
        for rule in policy["rules"]:
            if rule["outcome"] == outcome and rule.get("category", "*") == wanted:
                return dict(rule)
    return None


def fee_on(rule: Rule, base: int, *, deal: int, released: int, volume: int) -> int:
    """A fee in minor units: ``deal`` was agreed, ``released`` of it before, ``volume`` by this seller in all."""
    exact = Fraction(rule.get("fixed", 0))
    if "rate" in rule:
        exact += base * Fraction(rule["rate"])
    if "tiers" in rule:
        exact += _tiered(rule["tiers"], base, deal, released, volume)
    if "minimum" in rule and exact < rule["minimum"]:
        exact = Fraction(rule["minimum"])
    if "maximum" in rule and exact > rule["maximum"]:
        exact = Fraction(rule["maximum"])
    return min(half_up(exact), base)


def _tiered(tiers: dict[str, Any], base: int, deal: int, released: int, volume: int) -> Fraction:
    by_party = tiers["basis"] == "party_volume"
    if tiers["mode"] == "whole_volume":
        return base * _rate_at(tiers["bands"], volume if by_party else deal)
    first = volume if by_party else released
    return sum((_rate_at(tiers["bands"], unit) for unit in range(first, first + base)), Fraction(0))


def _rate_at(bands: list[dict[str, Any]], unit: int) -> Fraction:
    rate = Fraction(0)
    for band in bands:
        if unit >= band["from"]:
            rate = Fraction(band["rate"])
    return rate


def buyers_part(rule: Rule, fee: int) -> int:
    """What of a fee the buyer bears; of ``both`` half, and the odd unit is the seller's."""
    return {"seller": 0, "both": fee // 2, "buyer": fee}[rule.get("payer", "seller")]


def shared(total: int, share: Fraction) -> tuple[int, int]:
    """A total between seller and buyer: rounded down, one unit left goes to the larger fraction, on a tie to the first.

    Of 5 at one half the seller gets 3.
    """
    seller, buyer = total * share, total * (1 - share)
    whole = [seller.__floor__(), buyer.__floor__()]
    if sum(whole) < total:
        whole[0 if seller - whole[0] >= buyer - whole[1] else 1] += 1
    return whole[0], whole[1]


def given_back(fee: int, principal: int, before: int, more: int) -> int:
    """What of a fee goes back with ``more`` of a release after ``before`` of it: the difference of two rounded sums."""
    return half_up(Fraction(fee * (before + more), principal)) - half_up(Fraction(fee * before, principal))


def dispute_fee(fee: dict[str, Any], seller: int, buyer: int, back: int) -> dict[str, tuple[int, int]]:
    """What each side pays of a dispute fee at once, and what it owes. ``loser`` gets less; a tie is split.

    ``back`` of the buyer's was added for a fee and was not argued about.
    """
    amount, payer = fee["amount"], fee["payer"]
    if payer == "loser":
        payer = "split" if seller == buyer - back else "seller" if seller < buyer - back else "buyer"
    part = {"seller": amount if payer == "seller" else 0, "buyer": amount if payer == "buyer" else 0}
    if payer == "split":
        part = {"seller": amount - amount // 2, "buyer": amount // 2}
    taken = {"seller": min(part["seller"], seller), "buyer": min(part["buyer"], buyer)}
    return {side: (taken[side], part[side] - taken[side]) for side in ("seller", "buyer")}
