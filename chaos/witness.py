"""The provider's books beside the ledger, in both directions and to the last unit.

The provider's are read from its SQLite file, which shares no code with us; ours are the ledger's entries, not what some
row says of itself.
"""

import json
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text

from chaos import addressees

_KINDS: Final = ("charge", "transfer", "dispute", "balance_transaction")
_TO_COME: Final = """
SELECT 'webhook ' || json_extract(body, '$.type') || ' is not delivered after ' || attempts || ' attempts'
FROM events LEFT JOIN misposted USING (seq) WHERE delivered = 0 AND coalesce(lost, 0) = 0
UNION ALL
SELECT name || ' is to happen' FROM scheduled
"""
_DECIDED_FOR_US: Final = frozenset({"won", "warning_closed"})
# Everything that ever moved the account of what lies at the provider, signed as the provider signs it.
_CASH: Final = """
SELECT t.memo, t.command_id, e.currency, CASE e.direction WHEN 'debit' THEN e.amount ELSE -e.amount END AS amount
FROM ledger_transaction t JOIN entry e ON e.transaction_id = t.id WHERE e.account_kind = 'gateway_cash'
"""
_REFERENCE: Final = re.compile(r"(?:tr|du|ch|py)_\w+")


@dataclass
class Movements:
    """What one side says moved, by what it is called on both: name → signed amounts in minor units, one each time.

    ``arrived`` are the provider's transfers that did not come back, by payout, whatever their keys. ``whom`` is whom
    money reached or who paid it, in words: with the provider what is so, in the ledger what may be.
    """

    charges: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    payouts: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    returns: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    contested: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    arrived: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    whom: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    balance: Counter[str] = field(default_factory=Counter)
    open_disputes: Counter[str] = field(default_factory=Counter)


def theirs(books: Path) -> Movements:
    """The provider's side. Transfers by our key, what came back by the transfer, what was contested by the dispute."""
    with sqlite3.connect(f"file:{books}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT kind, body FROM objects").fetchall()
    objects: dict[str, list[dict[str, Any]]] = {kind: [] for kind in _KINDS}
    for kind, body in rows:
        objects.setdefault(kind, []).append(json.loads(body))
    found = Movements()
    for charge in objects["charge"]:
        if charge["status"] == "succeeded":
            found.charges[charge["metadata"]["holdfast_key"]].append(charge["amount"])
            found.whom[charge["metadata"]["holdfast_key"]].add(addressees.charged(charge))
    for transfer in objects["transfer"]:
        key = transfer["metadata"]["holdfast_key"]
        found.payouts[key].append(-transfer["amount"])
        found.whom[key].add(addressees.transferred(transfer))
        if transfer["amount_reversed"] < transfer["amount"]:
            found.arrived[key.partition(":")[0]].append(transfer["id"])
        if transfer["amount_reversed"]:
            found.returns[transfer["id"]].append(transfer["amount_reversed"])
    for dispute in objects["dispute"]:
        if dispute["status"] == "lost":
            found.contested[dispute["id"]].append(-dispute["amount"])
        elif dispute["status"] not in _DECIDED_FOR_US:
            found.open_disputes[dispute["currency"].upper()] += dispute["amount"]
    for movement in objects["balance_transaction"]:
        found.balance[movement["currency"].upper()] += movement["net"]
    return found


def to_come(books: Path) -> list[str]:
    """What the provider has still to tell or to do by itself; what was lost on purpose never comes."""
    with sqlite3.connect(f"file:{books}?mode=ro", uri=True) as connection:
        return [f"provider: {row[0]}" for row in connection.execute(_TO_COME)]


def ours(connection: Connection, named: addressees.Named) -> Movements:
    """The ledger's side, and the accounts that the platform ``named``."""
    found = Movements(whom=addressees.rightful(connection, named))
    for memo, command, currency, amount in connection.execute(text(_CASH)):
        found.balance[currency] += amount
        place, name = _named(found, memo, command)
        place[name].append(amount)
    return found


def _named(found: Movements, memo: str, command: str) -> tuple[dict[str, list[int]], str]:
    """Where a movement belongs, and what the provider calls it."""
    if memo == "top up":
        return found.charges, command
    if memo == "payout paid":
        return found.payouts, command.removeprefix("~").rpartition(":")[0]
    reference = _REFERENCE.search(command)
    name = reference[0] if reference else command
    return (found.returns if memo == "payout returned" else found.contested), name


def differences(their: Movements, our: Movements) -> Iterator[str]:
    """What does not agree, in words."""
    for payout in twice(their.arrived):
        yield f"double payout: {payout} has arrived by {', '.join(their.arrived[payout])}"
    yield from _misdirected(their.whom, our.whom)
    for what in ("charges", "payouts", "returns", "contested"):
        yield from _beside(what, getattr(their, what), getattr(our, what))
    for currency in sorted({*their.balance, *our.balance}):
        explained = their.balance[currency] + their.open_disputes[currency]
        if explained != our.balance[currency]:
            yield (
                f"lost units: the provider has {their.balance[currency]} {currency} and "
                f"{their.open_disputes[currency]} contested, the ledger has {our.balance[currency]}"
            )


def _misdirected(their: Mapping[str, set[str]], our: Mapping[str, set[str]]) -> Iterator[str]:
    for name in sorted(their.keys() & our.keys()):
        if elsewhere := their[name] - our[name]:
            may = ", ".join(sorted(our[name])) or "nobody"
            yield f"somebody else: {name} is {', '.join(sorted(elsewhere))} with the provider, and may only be {may}"


def twice(movements: Mapping[str, Sequence[object]]) -> list[str]:
    """What is there more often than once."""
    return sorted(name for name, found in movements.items() if len(found) > 1)


def lost_units(their: Movements, our: Movements) -> int:
    """How many minor units the two sides are apart, over all currencies."""
    currencies: Iterable[str] = {*their.balance, *our.balance}
    return sum(abs(their.balance[one] + their.open_disputes[one] - our.balance[one]) for one in currencies)


def _beside(what: str, their: Mapping[str, list[int]], our: Mapping[str, list[int]]) -> Iterator[str]:
    # The ledger books what a bank took in parts: what was still held, and what had to be taken back.
    for side, movements in (("the provider", their), ("the ledger", {} if what == "contested" else our)):
        for name in twice(movements):
            yield f"{what}: {side} has {name} {len(movements[name])} times: {movements[name]}"
    for name in sorted(their.keys() | our.keys()):
        if their.get(name) is None:
            yield f"{what}: the provider does not have {name} of {our[name]}"
        elif our.get(name) is None:
            yield f"{what}: the ledger does not have {name} of {their[name]}"
        elif sum(their[name]) != sum(our[name]):
            yield f"{what}: {name} is {their[name]} with the provider and {our[name]} in the ledger"
