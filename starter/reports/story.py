"""An escrow's audit as a story for people and as JSON for machines, and what a check of the books found."""

import json
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import RowMapping

from ledger.audit import AuditRow, Story, Verification
from ledger.soundness import Finding
from models.money import Money
from starter.reports.formats import major
from starter.reports.visible import visible, visible_json

_PARTS: Final = ("total", "platform_fee", "seller_payout", "buyer_refund")
_SHOWN: Final = 20


def story_text(story: Story) -> str:
    """Command by command: when, who, what, what became of it, what moved; at the end, whether the chain is whole."""
    return (
        "\n".join([*_heading(story), *(line for row in story.rows for line in _command(story, row)), *_end(story)])
        + "\n"
    )


def story_json(story: Story) -> str:
    """Everything the books have. From ``rows`` anybody can compute the chain again: see docs/reports.md."""
    settled = dict(story.settlements)
    document = {
        "escrow": story.identifier,
        "agreement": dict(story.escrow) if story.escrow else None,
        "rows": [_row(story, row, settled) for row in story.rows],
        **_verification(story.verification),
    }
    return json.dumps(document, indent=2) + "\n"


def verification_text(found: Verification) -> str:
    """One line for whole books; else the first broken row, what is wrong with it, and what else is."""
    looked = (
        f"{found.rows:,} audit {_plural(found.rows, 'row')} of {found.escrows:,} {_plural(found.escrows, 'escrow')}"
    )
    if found.whole:
        return f"Whole: {looked} checked, every hash, and the money that belongs to them.\n"
    lines = [f"BROKEN: {looked} checked, {found.total:,} {_plural(found.total, 'finding')}."]
    lines += _told(found)
    return "\n".join(lines) + "\n"


def verification_json(found: Verification) -> str:
    """The same as an object."""
    return json.dumps({"rows": found.rows, "escrows": found.escrows, **_verification(found)}, indent=2) + "\n"


def _heading(story: Story) -> Iterator[str]:
    escrow = story.escrow
    if escrow is None:
        yield f"Audit of {story.identifier}: there is no such escrow, only refused commands"
    else:
        agreed = f"from {visible(escrow['buyer'])} to {visible(escrow['seller'])}, {escrow['state']}"
        yield f"Audit of {story.identifier}: {visible(escrow['title'])}, {agreed}, version {escrow['version']}"
    yield ""


def _command(story: Story, row: AuditRow) -> Iterator[str]:
    answer = "accepted" if row.accepted else f"REFUSED {visible(row.outcome)}"
    versions = (
        f"version {row.before_version} -> {row.after_version}" if row.accepted else f"version {row.before_version}"
    )
    yield f"#{row.position} {row.received_at} {_actor(row)}: {visible(row.name)}, {answer}, {versions}"
    details = json.dumps(json.loads(row.details), ensure_ascii=False)
    if details != "{}":
        yield f"    says      {visible_json(details)}"
    if row.message:
        yield f"    because   {visible(row.message)}"
    if row.ip or row.user_agent:
        yield f"    from      {visible(' '.join(filter(None, (row.ip, row.user_agent))))}"
    if row.accepted:
        yield from _money(story, row)
    yield f"    command   {visible(row.command_id)}"
    yield f"    recorded  {row.recorded_at} as {visible(row.id)}"
    yield f"    hash      {visible(row.hash)}"
    yield ""


def _money(story: Story, row: AuditRow) -> Iterator[str]:
    if settlement := story.settlements.get(row.command_id):
        total, *parts = (Money(settlement[name], settlement["currency"]) for name in _PARTS)
        fee, seller, buyer = parts
        of = f"clawback of {settlement['reverses']}" if settlement["reverses"] else settlement["outcome"]
        yield f"    settles   {of} {total}: fee {fee}, seller {seller}, buyer {buyer} ({settlement['id']})"
    for movement in story.movements.get(row.command_id, ()):
        units = Money(movement["amount"], movement["currency"])
        yield f"    {movement['direction']:<9} {movement['account_kind']} of {visible(movement['owner'])} {units}"


def _end(story: Story) -> Iterator[str]:
    found = story.verification
    if story.partial:
        yield "Not every row of this chain can be seen from here, so it is not checked."
    elif found.whole:
        head = f" Its head is {story.rows[-1].hash}." if story.rows else ""
        yield f"The chain is whole: {found.rows} {_plural(found.rows, 'row')}.{head}"
    else:
        yield f"THE CHAIN IS BROKEN: {found.total} {_plural(found.total, 'finding')}."
        yield from _told(found)


def _told(found: Verification) -> Iterator[str]:
    for number, finding in enumerate(found.findings[:_SHOWN]):
        yield f"{'First' if not number else 'Then'}: {_finding(finding)}"
    if found.total > _SHOWN:
        yield f"And {found.total - min(_SHOWN, found.total):,} more."


def _finding(finding: Finding) -> str:
    places = (
        ("escrow", finding.escrow),
        ("position", finding.position),
        ("audit row", finding.audit),
        ("tenant", finding.tenant if finding.escrow is None else None),
    )
    where = ", ".join(f"{name} {visible(str(value))}" for name, value in places if value is not None)
    return f"{where}: {finding.kind}: {visible(finding.says)}"


def _actor(row: AuditRow) -> str:
    return f"{visible(row.actor_party)} ({visible(row.actor_role)})" if row.actor_party else visible(row.actor_role)


def _row(story: Story, row: AuditRow, settled: dict[str, RowMapping]) -> dict[str, Any]:
    """A row with all that is hashed under the columns' own names; ``details`` once more, parsed."""
    columns = {name: getattr(row, name) for name in row.__dataclass_fields__}
    money = row.accepted and settled.get(row.command_id)
    return {
        **columns,
        "details": json.loads(row.details),
        "details_text": row.details,
        "settlement": _settlement(money) if money else None,
        "entries": [_entry(movement) for movement in story.movements.get(row.command_id, ())] if row.accepted else [],
    }


def _settlement(row: RowMapping) -> dict[str, Any]:
    kept = ("id", "outcome", "reverses", "currency", *_PARTS, "fee_policy_version", "fee_rule")
    return {name: row[name] for name in kept}


def _entry(row: RowMapping) -> dict[str, Any]:
    posted = {"posted_at": row["posted_at"].isoformat(), "amount": major(row["amount"], row["currency"])}
    return {
        "memo": row["memo"],
        "account": row["account_kind"],
        "owner": row["owner"],
        "direction": row["direction"],
        "currency": row["currency"],
        "amount_minor": row["amount"],
        **posted,
    }


def _verification(found: Verification) -> dict[str, Any]:
    told = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in found.findings]
    return {"whole": found.whole, "findings_total": found.total, "findings": told}


def _plural(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
