"""What ``holdfast reconcile`` and ``show`` say of what is open: counts, what is late, and the command that helps."""

from datetime import UTC, datetime

import pytest

from models.reconciliation import Cause, Correction, Difference, Reconciliation
from starter.operating.correcting import told as told_of
from starter.operating.reconciling import whole
from starter.operating.rounds import still_open
from tests.builders import new_id

NOW = datetime(2026, 11, 21, 16, 50, tzinfo=UTC)


def a_difference(cause: Cause, tenant: str | None = None) -> Difference:
    """A payment of 23.00 that only the provider has."""
    return Difference(
        id=new_id("dif"), provider="stripe", compared="provider", cause=cause, kind="payout", subject="txn_1",
        tenant=tenant, theirs=-2300, currency="EUR", since=NOW, says="It moved", remedy="Do it", first_seen=NOW,
        last_seen=NOW, status="open",
    )  # fmt: skip


def a_round(**found: int) -> Reconciliation:
    """One that found so much."""
    return Reconciliation(id=new_id("rec"), provider="stripe", started_at=NOW, read_up_to=NOW, found=found)


def test_everything_open_is_counted_and_what_is_late_takes_a_line() -> None:
    """The counts are the round's, not those of the page."""
    told = list(still_open(a_round(late=24, missing_here=22), [a_difference("missing_here")] * 20, {}))
    assert told[0].startswith("46 differences are open: 22 missing here, 24 late. The oldest 20; `")
    assert sum("missing here" in line for line in told[1:]) == 20
    assert told[-1].startswith(
        "24 are late: either side wrote it less than 15 minutes ago. Reconcile again after 17:05"
    )
    (only,) = still_open(a_round(late=1), [], {})
    assert only.startswith("1 is late")
    assert next(iter(still_open(a_round(missing_here=1), [a_difference("missing_here")], {}))).endswith(
        "1 missing here."
    )


@pytest.mark.parametrize(
    ("cause", "tenant", "line"),
    [
        ("missing_here", None, "--tenant TENANT --operator NAME"),
        ("missing_here", new_id("ten"), "--operator NAME"),
        ("late", None, None),
        ("unknown_outcome", None, None),
        ("misdirected", None, None),
    ],
    ids=["nobodys", "of_a_tenant", "late", "unknown_outcome", "misdirected"],
)
def test_show_proposes_only_what_would_be_taken(cause: Cause, tenant: str | None, line: str | None) -> None:
    """A command that is copied from there is not refused for what was known."""
    proposed = [one for one in whole(a_difference(cause, tenant), [], [], []) if "reconcile correct" in one]
    assert [f" {line} " in one and ("--tenant" in one) == (tenant is None) for one in proposed] == [True] * bool(line)


def test_a_part_is_told_with_the_whole_and_with_what_remains() -> None:
    """Whoever proposed a part must not believe that all of it is done."""
    part = Correction(
        id=new_id("cor"), difference=new_id("dif"), tenant=new_id("ten"), amount=-2000, currency="EUR", theirs=-2300,
        reason="why", needs_approval=False, proposed_by="olga", proposed_at=NOW, status="booked", transaction="txn_2",
    )  # fmt: skip
    assert ": -20.00 EUR of -23.00 EUR to gateway_cash" in told_of(part)
    assert told_of(part).endswith("is corrected; -3.00 EUR remains, which the next round lists.")
    assert " of " not in told_of(part.model_copy(update={"amount": -2300}))
