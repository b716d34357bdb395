"""The reckoning: once the load has ended and everything has come to rest, does it add up?

Each check says in words what is wrong, and nothing when nothing is.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, text

from chaos import histories, rounds, witness
from chaos.callers import Seen
from ledger.audit import verify
from ledger.engine import connect
from ledger.oversight import unfinished
from models import ids
from starter.embedded.stack import Endpoints

_LOOK_AGAIN_SECONDS: Final = 0.5
_TELL_EVERY_SECONDS: Final = 10.0
_NO_COMMANDS: Final = frozenset({"topups", "put_party", "advance"})
_TOLD: Final = 20

# What must not be there when everything has come to rest.
_RESTLESS: Final = """
SELECT 'payout ' || id || ' is ' || status FROM payout WHERE hold IS NULL AND status IN ('due', 'in_transit', 'unknown')
UNION ALL
SELECT 'charge ' || id || ' is pending' FROM charge WHERE status = 'pending'
UNION ALL
SELECT 'webhook ' || number || ' ' || type || ' is not applied: ' || coalesce(last_error, 'never looked into')
FROM gateway_event WHERE status = 'pending'
UNION ALL
SELECT 'deadline ' || d.id || ' of ' || d.escrow_id || ' was missed'
FROM deadline d JOIN escrow e ON e.id = d.escrow_id JOIN tenant t ON t.id = e.tenant_id
WHERE d.pending AND d.due_at < now() + t.clock_offset * interval '1 second' - interval '5 seconds'
"""
_TRIAL_BALANCE: Final = """
SELECT tenant_id || ': debits and credits differ by ' || sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END)
    || ' ' || currency
FROM entry GROUP BY tenant_id, currency HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0
"""
_TWO_EFFECTS: Final = """
SELECT name || ' ' || command_id || ' was accepted ' || count(*) || ' times' FROM audit WHERE outcome = 'accepted'
GROUP BY tenant_id, command_id, name HAVING count(*) > 1
UNION ALL
SELECT 'command ' || command_id || ' has ' || count(*) || ' settlements' FROM settlement
GROUP BY tenant_id, command_id HAVING count(*) > 1
"""
# What those that are not over wait for: in a terminal state, for payouts that did not arrive and may be sent again.
_WAITS_FOR: Final = """
SELECT CASE WHEN state IN ('completed', 'cancelled', 'refunded') THEN 'payout not arrived' ELSE state END, count(*)
FROM escrow WHERE id = ANY(:ids) GROUP BY 1 ORDER BY 1
"""
_UNANSWERED: Final = "SELECT key || ' on ' || path FROM idempotency WHERE status IS NULL"
_ACCEPTED: Final = "SELECT DISTINCT command_id FROM audit WHERE outcome = 'accepted' AND command_id NOT LIKE '~%'"
_SUCCEEDED: Final = "SELECT id, status FROM charge"
_CRASHES: Final = ("deadlock detected", "PANIC:", "could not read block", "invalid page")


@dataclass
class Reckoning:
    """What came of it. ``wrong`` is what must not be; the numbers are for the table."""

    wrong: list[str] = field(default_factory=list)
    settled_after: float = 0.0
    escrows: int = 0
    waiting: Counter[str] = field(default_factory=Counter)
    payouts: int = 0
    double_payouts: int = 0
    lost_units: int = 0
    healed: int = 0
    matched: int = 0
    replayed: histories.Replayed = field(default_factory=histories.Replayed)

    def add(self, found: Iterator[str] | Sequence[str], about: str = "") -> None:
        """Take down what is wrong; of many of a kind the first are told."""
        said = list(found)
        self.wrong += [f"{about}: {one}" if about else one for one in said[:_TOLD]]
        if len(said) > _TOLD:
            self.wrong.append(f"{about}: {len(said) - _TOLD} more")


def take_stock(
    seen: Seen,
    endpoints: Endpoints,
    home: Path,
    tenants: Sequence[str],
    patience: float,
    say: Callable[[str], None] = lambda _: None,
    terminated: Collection[str] = (),
) -> Reckoning:
    """Wait until everything has come to rest, at most ``patience`` seconds, then look at everything.

    ``terminated`` are runs of workflows that were ended on purpose.
    """
    found, began = Reckoning(), time.monotonic()
    engine = connect(endpoints.database_url, 2)
    try:
        found.add(_rested(engine, endpoints, home, patience, say), "not at rest")
        found.settled_after = time.monotonic() - began
        say("reconciling with the provider")
        healing = asyncio.run(rounds.hold(endpoints))  # webhooks may have been lost
        found.healed = healing.healed
        found.add(_rested(engine, endpoints, home, patience, say), "not at rest after a round of reconciliation")
        last = asyncio.run(rounds.hold(endpoints)) if healing.asked or healing.started else healing
        found.add(what_clients_saw(seen))
        with engine.connect() as connection:
            found.add(rounds.left(connection, last), "reconciliation")
            found.matched = last.matched
            waiting = connection.execute(text(_WAITS_FOR), {"ids": _unfinished(engine)})
            found.waiting = Counter({row[0]: row[1] for row in waiting})
            _books(connection, seen, tenants, found)
            our = witness.ours(connection, seen.named)
        found.add([str(one) for one in verify(engine).findings], "the books")
        their = witness.theirs(home / "sandbox.db")
        found.add(witness.differences(their, our))
        found.payouts = len(our.payouts)
        found.double_payouts = len(witness.twice(their.arrived))
        found.lost_units = witness.lost_units(their, our)
        say("replaying every history")
        found.replayed = asyncio.run(histories.replay(endpoints, terminated))
        found.add(found.replayed.wrong, "histories")
        found.add(_log_lines(home / "logs" / "postgres.log"), "PostgreSQL")
    finally:
        engine.dispose()
    return found


def _rested(engine: Engine, endpoints: Endpoints, home: Path, patience: float, say: Callable[[str], None]) -> list[str]:
    """What is still not at rest when patience has ended. Nothing twice in a row is rest."""
    give_up, tell_at, quiet = time.monotonic() + patience, time.monotonic() + _TELL_EVERY_SECONDS, False
    while True:
        moving = witness.to_come(home / "sandbox.db") or restless(engine) or asyncio.run(_strays(engine, endpoints))
        if (not moving and quiet) or time.monotonic() > give_up:
            return moving
        if moving and time.monotonic() > tell_at:
            say(f"waiting for {len(moving)} things to come to rest, such as {moving[0]}")
            tell_at = time.monotonic() + _TELL_EVERY_SECONDS
        quiet = not moving
        time.sleep(_LOOK_AGAIN_SECONDS)


def restless(engine: Engine) -> list[str]:
    """What the books say is still to happen by itself, and soon."""
    with engine.connect() as connection:
        return list(connection.execute(text(_RESTLESS)).scalars())


async def _strays(engine: Engine, endpoints: Endpoints) -> list[str]:
    """Escrows that nobody looks after, workflows of escrows that are over, and payouts and charges still asked for."""
    running = await histories.running(endpoints)
    wanted = {ids.escrow_workflow(one) for one in _unfinished(engine)}
    alive = running.get("EscrowWorkflow", set())
    alone = [f"{one} is not over and has no workflow" for one in sorted(wanted - alive)]
    idle = [f"{one} is over and its workflow runs" for one in sorted(alive - wanted)]
    busy = [
        f"{one} still runs" for kind in ("PayoutWorkflow", "ChargeWorkflow") for one in sorted(running.get(kind, ()))
    ]
    return alone + idle + busy


def _unfinished(engine: Engine) -> list[str]:
    """Every escrow that waits for something: its parties, an operator, a deadline, or its payouts."""
    found: list[str] = []
    while page := unfinished(engine, None, found[-1] if found else ""):
        found += page
    return found


def what_clients_saw(seen: Seen) -> Iterator[str]:
    """What a client was answered that nobody may be: strange things, nothing, and now one thing and now another."""
    yield from seen.odd[:_TOLD]
    yield from (f"no definite answer: {one}" for one in seen.given_up)
    yield from (f"different answers under {key}: {sorted(said)}" for key, said in seen.answers.items() if len(said) > 1)


def _books(connection: Connection, seen: Seen, tenants: Sequence[str], found: Reckoning) -> None:
    def all_of(query: str) -> list[Any]:
        return [row[0] for row in connection.execute(text(query))]

    found.escrows = all_of("SELECT count(*) FROM escrow")[0]
    found.add(all_of(_TRIAL_BALANCE), "trial balance")
    found.add(all_of(_TWO_EFFECTS), "twice")
    found.add(all_of(_UNANSWERED), "claimed and never answered")
    found.add(promises(seen, set(all_of(_ACCEPTED))), "what was answered")
    charges = {row[0]: row[1] for row in connection.execute(text(_SUCCEEDED))}
    found.add(_top_ups(seen, charges, tenants), "what was answered")


def promises(seen: Seen, accepted: set[str]) -> Iterator[str]:
    """Where the books do not have what a client was told: accepted keys once, refused ones not at all."""
    for key, what in seen.accepted.items():
        if what not in _NO_COMMANDS and key not in accepted:
            yield f"{what} {key} was accepted, and the books know nothing of it"
    for key, what in seen.refused.items():
        if key in accepted:
            yield f"{what} {key} was refused, and the books have it as accepted"


def _top_ups(seen: Seen, charges: dict[str, str], tenants: Sequence[str]) -> Iterator[str]:
    for told, expected in ((seen.accepted, "succeeded"), (seen.refused, "declined")):
        for key in (key for key, what in told.items() if what == "topups"):
            made = (ids.derive("chg", ids.made_at(tenant), tenant, key) for tenant in tenants)
            status = next((charges[one] for one in made if one in charges), "unknown to the books")
            if status != expected:
                yield f"top-up {key} was answered as {expected}, and is {status}"


def _log_lines(log: Path) -> Iterator[str]:
    for line in log.read_text(errors="replace").splitlines():
        if any(one in line for one in _CRASHES):
            yield line[:200]
