"""One tenant with its own money, played through the real books: alice buys, bob sells, the release fee is 10 %."""

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine, text

from ledger import reads, tenants
from ledger.audit import verify
from ledger.books import Books
from ledger.keyring import Keyring
from models.charges import Charge, ChargeOrder, ChargeResult
from models.commands import Command, ResolveDispute, ReviewDispute
from models.errors import Refusal
from models.escrow import Escrow
from models.outcome import Outcome
from models.policies import ReleasePolicy, SpendPolicy
from models.states import State
from tests.builders import PATHS, a_create, new_id, order

FEES: Final = {"release": "0.10", "refund": "0", "split": "0.10", "reversal": "0"}
GATEWAY: Final = "stripe"
# Who the parties of a market are is encrypted under these: no other process has to read it.
KEYS: Final = Keyring.parse(f"market:{b64encode(bytes(range(32))).decode()}")

_BROKEN: Final = """
SELECT 'account ' || a.kind || ' of ' || a.owner || ' says ' || a.balance || ', its entries ' || coalesce(b.balance, 0)
FROM account a LEFT JOIN account_balance b
    ON (b.tenant_id, b.account_kind, b.owner, b.currency) = (a.tenant_id, a.kind, a.owner, a.currency)
WHERE a.tenant_id = :tenant AND a.balance <> coalesce(b.balance, 0)
UNION ALL
SELECT 'entries of ' || b.account_kind || ' without an account'
FROM account_balance b JOIN account_kind k ON k.kind = b.account_kind AND k.has_floor
LEFT JOIN account a ON (b.tenant_id, b.account_kind, b.owner, b.currency) = (a.tenant_id, a.kind, a.owner, a.currency)
WHERE b.tenant_id = :tenant AND a.kind IS NULL
UNION ALL
SELECT 'escrow ' || e.id || ' holds ' || e.held || ' and disputes ' || e.disputed || ', its accounts say otherwise'
FROM escrow e
LEFT JOIN account h ON (h.tenant_id, h.kind, h.owner, h.currency) = (e.tenant_id, 'escrow_hold', e.id, e.currency)
LEFT JOIN account d ON (d.tenant_id, d.kind, d.owner, d.currency) = (e.tenant_id, 'disputed_funds', e.id, e.currency)
LEFT JOIN account c ON (c.tenant_id, c.kind, c.owner, c.currency) = (e.tenant_id, 'chargeback_hold', e.id, e.currency)
WHERE e.tenant_id = :tenant AND (e.held, e.disputed, e.contested)
    <> (coalesce(h.balance, 0), coalesce(d.balance, 0), coalesce(c.balance, 0))
UNION ALL
SELECT 'the settlements of ' || e.id || ' do not add up to what left it' FROM escrow e
WHERE e.tenant_id = :tenant AND NOT EXISTS (SELECT FROM chargeback c WHERE c.escrow_id = e.id)
    AND (e.released, e.refunded) <> (SELECT
        coalesce(sum(CASE WHEN reverses IS NULL THEN total - buyer_refund ELSE -total END), 0)::bigint,
        coalesce(sum(buyer_refund), 0)::bigint FROM settlement s WHERE s.escrow_id = e.id)
UNION ALL
SELECT 'more is payable to ' || a.owner || ' than its payouts will send' FROM account a
WHERE a.tenant_id = :tenant AND a.kind = 'payable' AND a.balance > (SELECT coalesce(sum(p.amount), 0) FROM payout p
    JOIN escrow e ON e.id = p.escrow_id AND (e.tenant_id, e.currency) = (a.tenant_id, a.currency)
    WHERE p.party = a.owner AND p.status IN ('due', 'failed', 'returned'))
UNION ALL
SELECT 'debits and credits differ in ' || currency FROM entry WHERE tenant_id = :tenant
GROUP BY currency HAVING sum(CASE direction WHEN 'debit' THEN amount ELSE -amount END) <> 0
"""


class Market:
    """A fresh tenant in the books behind ``engine``, by which commands are applied without any workflow.

    ``fees`` are rates per outcome; None leaves the tenant without a fee policy.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        fees: dict[str, str] | None = FEES,
        release: ReleasePolicy | None = None,
        spend: SpendPolicy | None = None,
        purse: int = 10**9,
    ) -> None:
        self.engine = engine
        self.books = Books(engine)
        self.tenant = new_id("ten")
        # Of this tenant only, so that a fault of the gateway can be meant for it alone.
        self.destination = f"acct_{self.tenant.removeprefix('ten_')}"
        tenants.create_tenant(engine, self.tenant, "Market", "EUR")
        tenants.put_party(engine, self.tenant, "bob", payout_destination=self.destination)
        if fees is not None:
            self.charge_fees(fees)
        if release is not None:
            tenants.put_policy(engine, self.tenant, "release", release)
        if spend is not None:
            tenants.put_policy(engine, self.tenant, "spend", spend)
        if purse:
            self.top_up(purse)

    def charge_fees(self, rates: dict[str, str]) -> int:
        """Write a fee policy with one rate per outcome; answers its version."""
        rules = [{"outcome": outcome, "rate": rate} for outcome, rate in rates.items()]
        return tenants.put_policy(self.engine, self.tenant, "fees", tenants.parse_policy("fees", {"rules": rules}))

    def top_up(self, amount: int, party: str = "alice", currency: str = "EUR") -> Charge:
        """Put money into a wallet, as a charge that the gateway confirmed."""
        order = self.charge(amount, party, currency)
        self.books.begin_charge(order)
        return self.books.settle_charge(ChargeResult(id=order.id, status="succeeded", reference="pi_1"), GATEWAY)

    def charge(
        self, amount: int, party: str = "alice", currency: str = "EUR", payment_method: str = "pm_card_visa"
    ) -> ChargeOrder:
        """An order to charge a payment method, with a fresh id."""
        return ChargeOrder(
            id=new_id("chg"),
            tenant=self.tenant,
            party=party,
            amount=amount,
            currency=currency,
            payment_method=payment_method,
        )

    def create(self, **fields: Any) -> Escrow:
        """Agree on the specification's escrow: EUR 5,000 in 1,500, 2,000 and 1,500. ``fields`` go to ``a_create``."""
        return self.accept(a_create(**({"tenant": self.tenant} | fields)))

    def at(self, state: State, **fields: Any) -> Escrow:
        """An escrow that the usual commands brought to a state."""
        escrow = self.create(**fields)
        for kind in PATHS[state]:
            escrow = self.do(kind, escrow)
        return escrow

    def do(self, kind: type[Command], escrow: Escrow, **fields: Any) -> Escrow:
        """Apply a usual command (see ``builders.order``) that has to be accepted."""
        return self.accept(order(kind, escrow, **fields))

    def refused(self, kind: type[Command], escrow: Escrow, **fields: Any) -> Refusal:
        """Apply a usual command that has to be refused."""
        outcome = self.books.apply(order(kind, escrow, **fields))
        assert outcome.refusal is not None, f"{kind.__name__} should have been refused"
        return outcome.refusal

    def mediate(self, escrow: Escrow) -> Escrow:
        """Have an operator take the open dispute and send everyone back to work."""
        escrow = self.do(ReviewDispute, self.escrow(escrow))
        return self.do(ResolveDispute, escrow, resolution="mediation")

    def accept(self, command: Command) -> Escrow:
        """Apply a command that has to be accepted."""
        outcome = self.books.apply(command)
        assert outcome.refusal is None, f"{command.name} was refused: {outcome.refusal}"
        assert outcome.escrow is not None
        return outcome.escrow

    def apply(self, command: Command) -> Outcome:
        """Apply a command, whatever becomes of it."""
        return self.books.apply(command)

    def escrow(self, escrow: Escrow) -> Escrow:
        """The escrow as the books have it now."""
        found = reads.escrow(self.engine, escrow.id)
        assert found is not None
        return found

    def balance(self, kind: str, owner: str, currency: str = "EUR") -> int:
        """An account's balance on its normal side, from its entries."""
        query = """SELECT balance FROM account_balance
                   WHERE tenant_id = :tenant AND account_kind = :kind AND owner = :owner AND currency = :currency"""
        return int(self.scalar(query, kind=kind, owner=owner, currency=currency) or 0)

    def count(self, table: str, escrow: Escrow) -> int:
        """How many rows a table has for an escrow."""
        return int(self.scalar(f"SELECT count(*) FROM {table} WHERE escrow_id = :escrow", escrow=escrow.id))

    def events(self, escrow: Escrow) -> list[str]:
        """The types of an escrow's events, in order."""
        return [row["type"] for row in reads.events(self.engine, escrow.id)]

    def answers(self, escrow: Escrow) -> list[tuple[str, str]]:
        """Every command in the escrow's audit with what became of it, in the order of recording."""
        return [(row["name"], row["outcome"]) for row in reads.audit(self.engine, escrow.id)]

    def scalar(self, query: str, **parameters: Any) -> Any:
        """The single value that a query answers; ``:tenant`` is this one."""
        with self.engine.connect() as connection:
            return connection.execute(text(query), {"tenant": self.tenant, **parameters}).scalar()

    def audit(self) -> None:
        """Check that balances are the sums of their entries, escrows agree with their accounts, the audit is whole."""
        with self.engine.connect() as connection:
            assert connection.execute(text(_BROKEN), {"tenant": self.tenant}).scalars().all() == []
        assert not (found := verify(self.engine, self.tenant).findings), found


def now() -> datetime:
    """The real time."""
    return datetime.now(UTC)
