"""Books and a provider of a test's own, to be reconciled: a database and a sandbox that nobody else moves money in."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import psycopg
from sqlalchemy import Engine, make_url
from temporalio.testing import ActivityEnvironment

from activities.gateways.port import Succeeded
from activities.reconciliation import ReconciliationActivities
from activities.standing import Standing
from ledger import reconciliation
from ledger.engine import connect
from ledger.migrate import upgrade
from models import ids
from models.charges import ChargeResult, charge_of
from models.commands import Complete, Fund, OpenChargeback, RecordPayout, SendPayout, StartWork
from models.escrow import Escrow
from models.reconciliation import Agreement, Difference, Finished
from tests.builders import new_id, order
from tests.database.postings import post
from tests.gateway.sandbox_process import SandboxProcess
from tests.market import GATEWAY, Market
from tests.servers import Servers

NOW: Final = timedelta(0)
"""A grace that nothing is too new for."""


@contextmanager
def empty_books(servers: Servers) -> Iterator[str]:
    """The name of a database of one's own, migrated and with nobody connected, to be copied."""
    name = f"own_{uuid4().hex}"
    with closing(servers.superuser("postgres")) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER holdfast_owner".encode())
        upgrade(make_url(servers.endpoints.migration_url).set(database=name).render_as_string(hide_password=False))
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def own_books(servers: Servers, empty: str) -> Iterator[Engine]:
    """An engine on a copy of empty books, as the program's role."""
    name = f"own_{uuid4().hex}"
    url = make_url(servers.endpoints.database_url).set(database=name).render_as_string(hide_password=False)
    with closing(servers.superuser("postgres")) as connection:
        connection.execute(f"CREATE DATABASE {name} OWNER holdfast_owner TEMPLATE {empty}".encode())
        engine = connect(url, 8)
        yield engine
        engine.dispose()
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@contextmanager
def own_provider(directory: Path) -> Iterator[SandboxProcess]:
    """A sandbox of one's own."""
    process = SandboxProcess(directory)
    yield process
    process.kill()


@dataclass
class World:
    """One market and its provider. What the books do not hear of, a test leaves out."""

    engine: Engine
    sandbox: SandboxProcess

    def __post_init__(self) -> None:
        self.market = Market(self.engine, purse=0)
        self.gateway = self.sandbox.gateway()

    # What the provider moves ------------------------------------------------------------------------------------------

    def taken(self, amount: int, key: str | None = None, currency: str = "EUR") -> str:
        """The provider takes money from a card; answers the key."""
        key = key or new_id("chg")
        said = self.gateway.charge(
            key=key, party="alice", payment_method="pm_card_visa", amount=amount, currency=currency, metadata={}
        )
        assert isinstance(said, Succeeded)
        return key

    def sent(self, key: str, amount: int) -> None:
        """The provider sends a payout."""
        said = self.gateway.transfer(
            key=key, destination=self.market.destination, amount=amount, currency="EUR", metadata={}
        )
        assert isinstance(said, Succeeded)

    # What the books have ----------------------------------------------------------------------------------------------

    def pending(self, amount: int, key: str | None = None) -> str:
        """The books wait for the outcome of a charge; answers its id."""
        charge = self.market.charge(amount).model_copy(update={"id": key or new_id("chg")})
        self.market.books.begin_charge(charge)
        return charge.id

    def booked(self, key: str, amount: int, status: str = "succeeded") -> str:
        """The books have a charge with that outcome."""
        self.pending(amount, key)
        result = ChargeResult(id=key, status=status, reference="pi_1")  # type: ignore[arg-type]
        self.market.books.settle_charge(result, GATEWAY)
        return key

    def by_hand(self, amount: int, provider: str = GATEWAY) -> str:
        """Somebody debits gateway_cash past the program; answers the ledger transaction."""
        url = self.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url) as connection:
            cash, wallet = ("gateway_cash", provider, "debit"), ("wallet", "alice", "credit")
            return post(connection, self.market.tenant, (*cash, amount, "EUR"), (*wallet, amount, "EUR"))

    # Both -------------------------------------------------------------------------------------------------------------

    def charged(self, amount: int) -> str:
        """A charge that both have."""
        return self.booked(self.taken(amount), amount)

    def funded(self, amount: int = 10000) -> tuple[Escrow, str]:
        """An escrow that a card has funded, and the key of the charge."""
        escrow = self.market.create(amount=amount, milestones=(amount,))
        fund = order(Fund, escrow, source="gateway", payment_method="pm_card_visa")
        key = self.booked(self.taken(amount, charge_of(fund)), amount)
        return self.market.accept(fund), key

    def contested(self, escrow: Escrow, reference: str, amount: int, kind: str = "chargeback") -> Escrow:
        """The books are told that a bank contests a payment."""
        opened = order(OpenChargeback, escrow, reference=reference, amount=amount)
        return self.market.accept(opened.model_copy(update={"kind": kind}))

    def in_transit(self, amount: int = 10000) -> tuple[Escrow, str]:
        """An escrow whose payout of nine tenths the books have as sent; and the key of the payout."""
        escrow, _ = self.funded(amount)
        escrow = self.market.do(Complete, self.market.do(StartWork, escrow))
        escrow = self.market.do(SendPayout, escrow)
        return escrow, ids.payout_key(escrow.payouts[0].id, 1)

    def paid(self, amount: int = 10000) -> tuple[Escrow, str]:
        """An escrow whose payout both have as paid."""
        escrow, key = self.in_transit(amount)
        self.sent(key, escrow.payouts[0].amount)
        return self.market.do(RecordPayout, escrow, outcome="paid"), key

    # A round ----------------------------------------------------------------------------------------------------------

    def activities(self, grace: timedelta = NOW) -> ReconciliationActivities:
        """The activities of a round; those that need a server of Temporal's are not called here."""

        def no_server() -> Standing:
            raise AssertionError("there is no Temporal here")

        return ReconciliationActivities(self.engine, GATEWAY, self.gateway.statement(), no_server, None, grace=grace)

    def compare(self, grace: timedelta = NOW) -> Agreement:
        """Read the statement and compare, as one round does, without healing."""
        doing, does = self.activities(grace), ActivityEnvironment().run
        identifier = new_id("rec")
        reading = does(doing.begin_round, identifier)
        while not reading.done:
            reading = does(doing.read_statement, reading)
        agreement: Agreement = does(doing.compare_with_provider, reading)
        done = Finished(round=identifier, read_up_to=reading.read_up_to, agreement=agreement)
        does(doing.finish_round, done)
        return agreement

    def of(self, *subjects: str) -> list[Difference]:
        """Every difference about these subjects, whatever became of it, the oldest first."""
        found, more = reconciliation.differences(self.engine, None, 1000)
        assert not more
        return [one for one in found if one.subject in subjects]

    def differs(self, subject: str) -> dict[str, Any]:
        """The one open difference about a subject, in short."""
        (one,) = (one for one in self.of(subject) if one.status == "open")
        return {"cause": one.cause, "kind": one.kind, "ours": one.ours, "theirs": one.theirs}
