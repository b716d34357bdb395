"""What operators read of reconciliation: what differs, with both sides of it, and the last rounds."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from ledger import corrections, reconciliation
from ledger.both_sides import Ours, both_sides
from ledger.reconciliation import Status
from models.currencies import EXPONENTS
from models.differences import readable
from models.ids import is_id
from models.reconciliation import Correction, Difference, ProviderLine, Reconciliation
from starter.embedded.child import StackError
from starter.endings import EndedError
from starter.invocation import suggested
from starter.misuse import MisuseError
from starter.operating.following import waits_for
from starter.operating.lookup import sheet_text
from starter.operating.office import Office, not_found, office
from starter.reports.sheet import Column, Sheet
from starter.reports.visible import visible

_LISTS: Final = "reconcile list"
_EMPTY: Final = {
    "open": "Nothing differs, as of the last round.",
    "healed": "Nothing that differed has healed yet.",
    "corrected": "Nothing was corrected yet.",
    None: "Nothing ever differed.",
}
_NO_CASE: Final = {"late", "unknown_outcome", "misdirected"}  # of a correction: see ledger.corrections
_UNITS: Final = ((86400, "day"), (3600, "hour"), (60, "minute"))
_ROUND_COLUMNS: Final = (
    Column("id", "code"),
    Column("began", "code"),
    Column("took", "code"),
    Column("lines", "count"),
    Column("matched", "count"),
    Column("escrows", "count"),
    Column("found"),
    Column("healed", "count"),
)


def listed(
    status: Status | None, limit: int, after: str | None, home: Path | None, *, quiet: bool
) -> tuple[str, dict[str, Any]]:
    """A page of differences, the oldest first. Raises ``MisuseError``, ``StackError``."""
    if after is not None and not is_id("dif", after):
        raise MisuseError(f"--after {visible(after)} is not the id of a difference: those begin with dif_")
    with office(home, quiet=quiet) as desk:
        found, has_more = reconciliation.differences(desk.engine, status, limit, after)
        waiting = {one.difference: one for one in corrections.waiting(desk.engine)}
        begun = found or reconciliation.rounds(desk.engine, 1)
    nothing = _EMPTY[status] if begun else f"There was no round yet: `{suggested('reconcile')}` compares everything."
    text = "\n".join(told(found, waiting)) if found else nothing
    more = f"\n\nThere are more: --after {found[-1].id}" if has_more else ""
    return text + more, {"data": documents(found, waiting), "has_more": has_more}


def shown(identifier: str, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """One difference, or that of a correction, with both sides' rows and its corrections.

    Raises ``EndedError`` (not_found), ``StackError``.
    """
    with office(home, quiet=quiet) as desk:
        if is_id("cor", identifier) and (proposal := corrections.correction(desk.engine, identifier)):
            identifier = proposal.difference
        found = looked_up(desk.engine, identifier)
        lines, ours = both_sides(desk.engine, found)
        proposed = corrections.of_difference(desk.engine, identifier)
    document = {
        **found.model_dump(mode="json"),
        "lines": [one.model_dump(mode="json") for one in lines],
        "transactions": [vars(one) | {"posted_at": one.posted_at.isoformat()} for one in ours],
        "corrections": [one.model_dump(mode="json") for one in proposed],
    }
    return "\n".join(whole(found, lines, ours, proposed)), document


def rounds(limit: int, home: Path | None, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """The last rounds, the newest first. Raises ``StackError``."""
    with office(home, quiet=quiet) as desk:
        found = reconciliation.rounds(desk.engine, limit + 1)
        why = _waits_for(desk, found[0]) if found else ""
    page = found[:limit]
    rows = [_row(one) for one in page]
    sheet = Sheet("Rounds of reconciliation", _ROUND_COLUMNS, rows, "There was no round yet: `holdfast reconcile`.")
    return sheet_text(sheet) + why, {
        "data": [one.model_dump(mode="json") for one in page],
        "has_more": len(found) > limit,
    }


def _waits_for(desk: Office, newest: Reconciliation) -> str:
    """What keeps a round that runs, if Temporal can be asked."""
    if newest.finished_at is not None or newest.failed:
        return ""
    with suppress(StackError, EndedError):
        why = desk.see_to(lambda client, _: waits_for(client, newest.provider))
        return f"\n{newest.id} runs: {why}.\n" if why else ""
    return ""


def looked_up(engine: Engine, identifier: str) -> Difference:
    """The difference of that id. Raises ``EndedError`` (not_found)."""
    found = reconciliation.difference(engine, identifier)
    if found is None:
        raise not_found("difference", identifier, _LISTS)
    return found


def told(found: Iterable[Difference], waiting: Mapping[str, Correction]) -> list[str]:
    """A few lines for each difference: what, for how long, what each side says, and what to do."""
    return [line for one in found for line in (*_head(one), *_next(one, waiting.get(one.id)), "")][:-1]


def documents(found: Iterable[Difference], waiting: Mapping[str, Correction]) -> list[dict[str, Any]]:
    """The same for scripts; ``correction`` is one that waits for another operator."""
    return [
        one.model_dump(mode="json")
        | {"correction": waiting[one.id].model_dump(mode="json") if one.id in waiting else None}
        for one in found
    ]


def age(since: datetime, until: datetime | None = None) -> str:
    """How long ago, in the largest unit that is full: ``3 days``."""
    seconds = ((until or datetime.now(UTC)) - since) // timedelta(seconds=1)
    for length, unit in _UNITS:
        if seconds >= length:
            return f"{seconds // length} {unit}{'s' if seconds // length > 1 else ''}"
    return "less than a minute"


def amount(units: int | None, currency: str | None) -> str:
    """An amount for people; a side that has nothing has no amount."""
    return "nothing" if units is None or currency is None else readable(units, currency)


def _head(one: Difference) -> list[str]:
    about = f"{one.kind.replace('_', ' ')} " if one.kind else ""
    closed = "" if one.status == "open" else f", {one.status}"
    cause, old = one.cause.replace("_", " "), age(one.since, one.closed_at)
    lines = [f"{one.id}  {cause}, {old} old{closed}: {about}{visible(one.subject)}"]
    if one.currency:
        lines.append(
            f"    ours {amount(one.ours, one.currency)}, {one.provider}'s {amount(one.theirs, one.currency)}: "
            f"{amount((one.theirs or 0) - (one.ours or 0), one.currency)} differs"
        )
    return [*lines, f"    {visible(one.says)}"]


def _next(one: Difference, correction: Correction | None) -> list[str]:
    if one.status != "open":
        return [f"    {one.status}: {visible(one.closed_why or '')}"]
    if correction is None:
        return [f"    what to do: {visible(one.remedy)}"]
    return [f"    waits for another operator: {_proposed(correction)}"]


def _proposed(one: Correction) -> str:
    by = f"{one.id}, {amount(one.amount, one.currency)} in {one.tenant}, proposed by {one.proposed_by}"
    decided = f"; {one.status} by {one.decided_by}" if one.decided_by else ""
    why = f": {visible(one.decided_why)}" if one.decided_why else ""
    return f"{by}: {visible(one.reason)}{decided}{why}"


def whole(found: Difference, lines: list[ProviderLine], ours: list[Ours], proposed: list[Correction]) -> Iterable[str]:
    """All lines about one difference, down to the command that helps, where there is one."""
    yield from _head(found)
    whose = [f"{name} {value}" for name, value in (("tenant", found.tenant), ("escrow", found.escrow)) if value]
    if whose:
        yield f"    {', '.join(whose)}"
    yield f"    since {found.since:%Y-%m-%d %H:%M} UTC, found {found.first_seen:%Y-%m-%d %H:%M} UTC"
    if found.kind:
        yield f"\n{found.provider}'s lines" + ("" if lines else ": none")
        for line in lines:
            fee = f", fee {amount(line.fee, line.currency)}" if line.fee else ""
            source = f" of {visible(line.source)}" if line.source else ""
            yield (
                f"    {line.created_at:%Y-%m-%d %H:%M}  {visible(line.id)}  {visible(line.type)}{source}  "
                f"{amount(line.amount, line.currency)}{fee}"
            )
        yield "\nOur ledger transactions" + ("" if ours else ": none")
        for one in ours:
            yield f"    {one.posted_at:%Y-%m-%d %H:%M}  {one.id}  {one.memo}"
            for entry in one.entries:
                money = amount(entry["amount"], entry["currency"])
                yield f"        {entry['direction']:<6}  {entry['account']} of {visible(entry['owner'])}  {money}"
    for correction in proposed:
        yield f"\nCorrection {_proposed(correction)}"
    waits = any(one.status == "proposed" for one in proposed)
    if found.status == "open" and not waits:
        yield f"\nWhat to do: {visible(found.remedy)}"
        if _can_be_corrected(found):
            named = () if found.tenant else ("--tenant", "TENANT")
            yield f"    {suggested('reconcile', 'correct', found.id, *named, '--operator', 'NAME', '--reason', 'WHY')}"
            if named:
                yield f"    TENANT is in whose books it is to stand: `{suggested('tenant', 'list')}` lists them"
    elif found.status != "open":
        yield f"\n{found.status.capitalize()}: {visible(found.closed_why or '')}"


def _can_be_corrected(one: Difference) -> bool:
    """Whether ``correct`` would take it, as far as the difference itself tells."""
    differs = (one.theirs or 0) != (one.ours or 0)
    movement = one.compared == "provider" and one.kind is not None and one.currency in EXPONENTS
    return movement and differs and one.cause not in _NO_CASE


def _row(one: Reconciliation) -> dict[str, Any]:
    counts = ", ".join(f"{cause.replace('_', ' ')} {number}" for cause, number in sorted(one.found.items()) if number)
    ended = f"failed: {one.failed}" if one.failed else counts or "nothing"
    return {
        "id": one.id,
        "began": f"{one.started_at:%Y-%m-%d %H:%M}",
        "took": _took(one),
        "lines": one.lines,
        "matched": one.matched,
        "escrows": one.escrows,
        "found": ended if one.finished_at or one.failed else "",
        "healed": one.healed,
    }


def _took(one: Reconciliation) -> str:
    if one.finished_at is None:
        return "" if one.failed else "runs"
    return f"{(one.finished_at - one.started_at).total_seconds():.0f} s"
