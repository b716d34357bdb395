"""The one port to payment providers. Three outcomes as types, so that nobody can forget the third.

How a caller reaches a definite answer, whatever happens in between::

    outcome = gateway.transfer(key=…)
    while not isinstance(outcome, Succeeded | Declined):
        wait with back-off
        outcome = gateway.look_up(operation="transfer", key=…)
        if isinstance(outcome, NotFound):
            outcome = gateway.transfer(key=…)      # the same key and the same arguments, never new ones

Why sending again after ``NotFound`` is right, and the only thing it permits:

* ``NotFound`` says that the provider had nothing under the key *when it was asked*. An earlier attempt may still be on
  its way, so it never means "failed": returning the money on it could pay twice.
* Within ``key_window`` of the first attempt the provider itself refuses to act twice on one key: the late attempt and
  the new one are one operation, whichever arrives first.
* After ``key_window`` the provider may have forgotten the key, but every attempt of that age has long been carried out
  or lost, so a look-up made *after* the window is the truth. Hence: past the window, always look up right before
  sending. A new attempt opens a new window for its own successors.
* Nobody need know exactly when the window ends. A look-up is harmless at any age, since after ``NotFound`` the same key
  goes out as without it; so ``GatewayActivities`` looks up by itself from ten minutes on, and before every attempt but
  an activity's first. What goes out unasked is at most ten minutes old, by the worker's clock and by Temporal's: by the
  one that is ahead. A key that a provider keeps for twenty minutes is long enough for that.
* Clocks that differ by hours do not change it. If the books' clock, which wrote ``first_sent_at``, was ahead of both,
  an age comes out too small by the difference, and at first below zero: then it is looked up. It looks new only when
  the operation is as old as the clocks differ, by hours, and the provider surely knows its key.
* Attempts must not overlap with this look-up: one attempt ends (its HTTP timeout) before the next begins.
* A charge of which the provider has nothing at the window's end is not sent any more, since nobody expects it by then;
  an hour later ``GatewayActivities`` calls it declined (``expired``). That is definite: an hour ago at the latest the
  last attempt was made, so it has been carried out, and is found, or is lost; and what is declined is never sent again.
  A transfer or a refund is owed to somebody, so it is sent, however late.
* If the provider keeps answering the same stored server error under the key while ``look_up`` finds nothing, the
  outcome stays unknown until the window has passed; a new key is not a way out, because the old one may have worked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from models.gateway import GatewayOperation
from models.reconciliation import ProviderLine


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The provider did it. ``amount`` is in our minor units (ISO 4217), as the provider states it."""

    reference: str
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Declined:
    """Definite: money did not move and will not move under this key.

    ``code`` is the provider's own word (``insufficient_funds``), or ours where nothing was sent (``expired``);
    ``message`` is ours and safe to show and to keep: it holds no secret, no card data and no account number.
    """

    code: str
    message: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Neither success nor failure. Ask again with ``look_up``; do nothing else."""

    reason: str
    reference: str | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider has nothing under this key at this moment. Permits one thing: the same call with the same key."""


Outcome = Succeeded | Declined | Unknown


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of taking money from a payer, as it stands now. ``charge`` is the provider's id of the attempt."""

    key: str | None
    charge: str
    status: Literal["pending", "succeeded", "failed"]
    amount: int
    currency: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A transfer as it stands now: ``returned`` of its ``amount`` has come back. Both in our minor units."""

    key: str | None
    amount: int
    returned: int
    currency: str


@dataclass(frozen=True, slots=True)
class Contested:
    """A payment that the payer's bank contests, as it stands now; ``amount`` in our minor units.

    ``failed``: it is no quarrel with the payer; the bank could not collect the money after all.
    """

    key: str | None
    amount: int
    currency: str
    status: Literal["open", "won", "lost"]
    failed: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class StatementPage:
    """Some movements of a provider's balance, the newest first; ``after`` is where the next page goes on."""

    lines: tuple[ProviderLine, ...]
    after: str | None


class GatewayMisconfiguredError(Exception):
    """The provider does not accept us (key, permission, address). Says nothing about any operation: fix, then retry."""


class IdempotencyMismatchError(Exception):
    """One key, two different operations: an error of the program. A person must look; nothing may be sent again."""


class GatewayUnavailableError(Exception):
    """The provider did not say how something stands: ask again later. It says nothing about the thing itself."""


class Gateway(Protocol):
    """A payment provider. Synchronous and thread-safe; every call ends within the adapter's timeout.

    Amounts are integer minor units by ISO 4217. ``key`` names the operation (payout id and generation), never the
    attempt. All may raise ``GatewayMisconfiguredError`` or ``IdempotencyMismatchError``; whatever else goes wrong is an
    ``Unknown``.
    """

    @property
    def name(self) -> str:
        """The provider's name in the books (``gateway_cash:stripe``)."""

    @property
    def key_window(self) -> timedelta:
        """How long after an attempt the provider surely still knows its key."""

    def charge(
        self,
        *,
        key: str,
        party: str,
        payment_method: str,
        amount: int,
        currency: str,
        metadata: Mapping[str, str],
        customer: str | None = None,
    ) -> Outcome:
        """Take money from a payment method whose owner is not present."""

    def refund(
        self, *, key: str, charge_reference: str, amount: int, currency: str, metadata: Mapping[str, str]
    ) -> Outcome:
        """Give back all or part of a charge."""

    def transfer(
        self, *, key: str, destination: str, amount: int, currency: str, metadata: Mapping[str, str]
    ) -> Outcome:
        """Send money to a connected account."""

    def look_up(
        self,
        *,
        operation: GatewayOperation,
        key: str,
        reference: str | None = None,
        charge_reference: str | None = None,
    ) -> Outcome | NotFound:
        """Ask what became of an operation. Never sends money. A refund needs its ``charge_reference``."""


class GatewayRecords(Protocol):
    """How things stand with a provider, by its own ids: what an event only hints at. It moves nothing.

    All answer None where the provider knows nothing of that id, and may raise ``GatewayMisconfiguredError`` or
    ``GatewayUnavailableError``.
    """

    def taken(self, reference: str) -> Taken | None:
        """A payment or one attempt at it (``pi_…``, ``ch_…``)."""

    def sent(self, reference: str) -> Sent | None:
        """A transfer (``tr_…``)."""

    def contested(self, reference: str) -> Contested | None:
        """A dispute (``du_…``, ``dp_…``)."""


class GatewayStatement(Protocol):
    """What a provider has moved, and what it holds for us: its own books, to compare ours with. It moves nothing.

    Both may raise ``GatewayMisconfiguredError`` or ``GatewayUnavailableError``.
    """

    def lines(self, since: datetime | None, after: str | None = None) -> StatementPage:
        """One page of the movements since a moment, or of all, from the newest to the oldest."""

    def balances(self) -> dict[str, int]:
        """What the provider holds, by currency, in our minor units."""
