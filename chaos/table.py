"""The outcome as tables for people."""

import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.table import Table

from chaos.callers import Seen
from chaos.meddling import MEDDLED, WORDS
from chaos.points import POINTS
from chaos.run import Outcome

_SLOWEST: Final = 3


def tables(outcome: Outcome) -> Iterator[Table]:
    """Commands, faults, and what it all came to."""
    yield _commands(outcome.seen)
    yield _faults(outcome)
    yield _facts(outcome)
    if outcome.plan.hasty:
        yield _story(outcome)


def _story(outcome: Outcome) -> Table:
    table = Table("at", "what", "who", "for", title="What happened when, in seconds")
    first = min((fault.began for fault in outcome.faults if fault.began), default=0.0)
    for fault in outcome.faults:
        table.add_row(f"{(fault.began or 0) - first:.1f}", fault.kind, fault.struck, f"{fault.seconds:g}")
    return table


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def _commands(seen: Seen) -> Table:
    table = Table("command", "succeeded", "refused, as what", title="Commands, each under a key of its own")
    for name, outcomes in sorted(seen.commands.items()):
        refused = ", ".join(f"{code} {times}" for code, times in sorted(outcomes.items()) if code != "ok")
        table.add_row(name, str(outcomes["ok"]), refused)
    return table


def _faults(outcome: Outcome) -> Table:
    table = Table("fault", "killed, or done", "stopped", "meddled with", "what it is", title="Faults injected")
    counted = Counter((fault.victim, fault.action) for fault in outcome.faults)
    for victim in sorted(outcome.struck, key=lambda one: (one in POINTS, one)):
        words = POINTS.get(victim) or WORDS.get(victim, "at any moment")
        meddled = str(counted[victim, MEDDLED[victim]]) if victim in MEDDLED else ""
        table.add_row(victim, str(counted[victim, "kill"]), str(counted[victim, "pause"]), meddled, words)
    for kind, times in sorted(outcome.injected.items()):
        table.add_row(f"provider: {kind}", str(times), "", "", "")
    return table


def _facts(outcome: Outcome) -> Table:
    seen, found, plan = outcome.seen, outcome.reckoning, outcome.plan
    title = f"{plan.load.clients} clients, {outcome.seconds:.0f} s, seed {plan.seed}"
    table = Table("", "", title=title)
    succeeded, refused = len(seen.accepted), len(seen.refused)
    slowest = outcome.recoveries()[:_SLOWEST]
    recovery = "; ".join(f"{one.seconds:.1f} s after {one.fault.kind}" for one in slowest)
    waits = ", ".join(f"{state} {times}" for state, times in found.waiting.items())
    approvals = f"{statistics.median(seen.approvals):.2f} s" if seen.approvals else "-"
    in_vain = Counter(outcome.in_vain)
    rows = (
        ("faults injected", len(outcome.faults) + outcome.injected.total()),
        ("deals", ", ".join(f"{kind} {times}" for kind, times in sorted(seen.deals.items()))),
        ("commands tried", seen.keys),
        ("commands succeeded", succeeded),
        ("commands refused", refused),
        ("commands repeated", f"{seen.repeated} requests, {seen.twice} of them sent to two APIs at once"),
        ("answers by status", ", ".join(f"{status}: {times}" for status, times in sorted(seen.statuses.items()))),
        ("connections that broke", sum(seen.broken.values())),
        ("fought over by several at once", seen.at_odds),
        ("processes that came up in vain", ", ".join(f"{one} {times}" for one, times in in_vain.items()) or 0),
        (
            "escrows",
            f"{found.escrows}, of which {found.waiting.total()} wait for somebody or a deadline: {waits or '-'}",
        ),
        ("payouts", found.payouts),
        ("double payouts", found.double_payouts),
        ("lost units", found.lost_units),
        ("reconciled with the provider", f"{found.matched} matched, {found.healed} healed that webhooks did not tell"),
        ("histories replayed", f"{found.replayed.kinds.total()} with {found.replayed.events} events"),
        ("longest recovery", recovery or "-"),
        ("longest wait for a definite answer", f"{seen.longest_wait:.1f} s"),
        ("approve to released, median", approvals),
        ("at rest after the day", f"{found.settled_after:.1f} s"),
        ("wrong", len(outcome.wrong)),
    )
    for name, value in rows:
        table.add_row(name, str(value))
    return table
