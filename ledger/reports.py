"""Reports: liquidity, trial balance, fees earned, settlements by period. All of it sums of the ledger's rows.

Periods are of ``posted_at``, the tenant's time in UTC, and half-open: an entry of midnight belongs to the day that
begins. Sums are Python's integers of minor units, without a limit.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, RowMapping, text

from ledger.snapshot import snapshot
from models.postings import AccountKind

By = Literal["day", "month", "total"]
TOTAL: Final = "total"

_PERIODS: Final[dict[By, str]] = {
    "day": "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    "month": "to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM')",
    "total": f"'{TOTAL}'",
}
_LABEL_LENGTHS: Final[dict[By, int]] = {"day": len("2026-01-31"), "month": len("2026-01")}
_BEFORE_THE_END: Final = "(CAST(:end AS timestamptz) IS NULL OR {0} < :end)"
_AFTER_THE_START: Final = "(CAST(:start AS timestamptz) IS NULL OR {0} >= :start)"

_SUMS: Final = f"""
SELECT CASE WHEN {_AFTER_THE_START.format("t.posted_at")} THEN {{period}} END AS period,
       e.account_kind AS account, k.normal_side, e.currency,
       coalesce(sum(e.amount) FILTER (WHERE e.direction = 'debit'), 0) AS debit,
       coalesce(sum(e.amount) FILTER (WHERE e.direction = 'credit'), 0) AS credit
FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id JOIN account_kind k ON k.kind = e.account_kind
WHERE e.tenant_id = :tenant AND {_BEFORE_THE_END.format("t.posted_at")}
GROUP BY 1, 2, 3, 4 ORDER BY 1 NULLS FIRST, 4, 2
"""  # noqa: S608 - our own names

_FEES: Final = f"""
SELECT {{period}} AS period, e.currency, coalesce(x.category, '') AS category,
       CASE WHEN t.memo = 'charged back' THEN 'chargeback' WHEN s.reverses IS NOT NULL THEN 'clawback'
            ELSE coalesce(s.outcome, 'other') END AS outcome,
       count(DISTINCT t.settlement_id) AS settlements,
       coalesce(sum(e.amount) FILTER (WHERE e.account_kind = 'fee_revenue' AND e.direction = 'credit'), 0)
           AS platform_fees,
       coalesce(sum(e.amount) FILTER (WHERE e.account_kind = 'fee_revenue' AND e.direction = 'debit'), 0)
           AS platform_fees_returned,
       coalesce(sum(e.amount) FILTER (WHERE e.account_kind = 'dispute_fee_revenue' AND e.direction = 'credit'), 0)
           AS dispute_fees,
       coalesce(sum(e.amount) FILTER (WHERE e.account_kind = 'dispute_fee_revenue' AND e.direction = 'debit'), 0)
           AS dispute_fees_returned
FROM entry e JOIN ledger_transaction t ON t.id = e.transaction_id
LEFT JOIN settlement s ON s.id = t.settlement_id LEFT JOIN escrow x ON x.id = t.escrow_id
WHERE e.tenant_id = :tenant AND e.account_kind IN ('fee_revenue', 'dispute_fee_revenue')
  AND {_AFTER_THE_START.format("t.posted_at")} AND {_BEFORE_THE_END.format("t.posted_at")}
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
"""  # noqa: S608

# Rows without an exchange rate are from before there were any: they settled in one currency.
_SETTLEMENTS: Final = f"""
SELECT {{period}} AS period, CASE WHEN reverses IS NOT NULL THEN 'clawback' ELSE outcome END AS outcome, currency,
       CASE WHEN fx_total IS NULL THEN currency ELSE fx_quote END AS reporting_currency, count(*) AS settlements,
       sum(total) AS total, sum(platform_fee) AS platform_fee, sum(dispute_fee) AS dispute_fee,
       sum(seller_payout) AS seller_payout,
       sum(buyer_refund) AS buyer_refund, sum(fee_returned) AS fee_returned,
       sum(coalesce(fx_total, total)) AS reporting_total,
       sum(coalesce(fx_platform_fee, platform_fee)) AS reporting_platform_fee,
       sum(coalesce(fx_seller_payout, seller_payout)) AS reporting_seller_payout,
       sum(coalesce(fx_buyer_refund, buyer_refund)) AS reporting_buyer_refund
FROM settlement
WHERE tenant_id = :tenant AND {_AFTER_THE_START.format("created_at")} AND {_BEFORE_THE_END.format("created_at")}
GROUP BY 1, 2, 3, 4 ORDER BY 1, 3, 4, 2
"""  # noqa: S608

_TENANTS: Final = """
SELECT t.id, t.name, t.mode, t.reporting_currency,
       (SELECT count(*) FROM escrow e WHERE e.tenant_id = t.id) AS escrows,
       (SELECT e.id FROM escrow e WHERE e.tenant_id = t.id ORDER BY e.created_at DESC, e.id DESC LIMIT 1)
           AS latest_escrow
FROM tenant t ORDER BY t.created_at DESC, t.id DESC
"""


@dataclass(frozen=True)
class Span:
    """From the beginning of ``start`` to the beginning of ``end`` (UTC), in periods; None is without a limit."""

    start: date | None = None
    end: date | None = None
    by: By = "total"


@dataclass(frozen=True)
class AccountLine:
    """One kind of account in one currency over one period. ``opening`` is on its normal side; all in minor units."""

    period: str
    currency: str
    account: str
    normal_side: str
    opening: int
    debit: int
    credit: int

    @property
    def closing(self) -> int:
        """The balance at the period's end, on the account's normal side."""
        return self.opening + (self.debit - self.credit if self.normal_side == "debit" else self.credit - self.debit)


@dataclass(frozen=True)
class Liquidity:
    """What is owed and what is there at a period's end, in one currency and its minor units.

    ``balances`` are by kind of account, each on its normal side.
    """

    period: str
    currency: str
    balances: dict[str, int]

    LIABILITIES = (
        AccountKind.WALLET, AccountKind.ESCROW_HOLD, AccountKind.DISPUTED_FUNDS, AccountKind.CHARGEBACK_HOLD,
        AccountKind.PAYABLE, AccountKind.PAYOUT_IN_TRANSIT,
    )  # fmt: skip
    REVENUE = (AccountKind.FEE_REVENUE, AccountKind.DISPUTE_FEE_REVENUE)
    UNEXPLAINED = (AccountKind.SUSPENSE,)
    BACKING = (AccountKind.GATEWAY_CASH, AccountKind.RECEIVABLE, AccountKind.PLATFORM_LOSS)

    def sum_of(self, kinds: Sequence[str]) -> int:
        """The balances of these kinds together."""
        return sum(self.balances.get(kind, 0) for kind in kinds)

    @property
    def difference(self) -> int:
        """Cash, receivables and losses less what is owed, earned or unexplained: zero, or the books are wrong."""
        return self.sum_of(self.BACKING) - self.sum_of((*self.LIABILITIES, *self.REVENUE, *self.UNEXPLAINED))


@dataclass(frozen=True)
class FeeLine:
    """Fees of one period, currency, category and outcome in minor units; ``clawback`` and ``chargeback`` give back.

    ``platform_fees`` and ``platform_fees_returned`` are the credits and debits of fee_revenue, those of disputes of
    dispute_fee_revenue.
    """

    period: str
    currency: str
    category: str
    outcome: str
    settlements: int
    platform_fees: int
    platform_fees_returned: int
    dispute_fees: int
    dispute_fees_returned: int

    @property
    def returned(self) -> int:
        """All that was given back."""
        return self.platform_fees_returned + self.dispute_fees_returned

    @property
    def earned(self) -> int:
        """What the platform keeps."""
        return self.platform_fees + self.dispute_fees - self.returned


@dataclass(frozen=True)
class SettlementLine:
    """Settlements of one period, outcome and pair of currencies, in minor units of each.

    The reporting amounts are those that were stored with each settlement at the rate of its moment. A ``clawback`` is
    the reversal of a settlement: ``fee_returned`` is the part of its total that the platform gave back.
    ``dispute_fee`` is a part of ``platform_fee``.
    """

    period: str
    outcome: str
    currency: str
    reporting_currency: str
    settlements: int
    total: int
    platform_fee: int
    dispute_fee: int
    seller_payout: int
    buyer_refund: int
    fee_returned: int
    reporting_total: int
    reporting_platform_fee: int
    reporting_seller_payout: int
    reporting_buyer_refund: int


@dataclass(frozen=True)
class Fees:
    """Fees earned, and what the two revenue accounts say of the same span: ``revenue`` is by account and currency."""

    lines: list[FeeLine]
    revenue: dict[tuple[str, str], int]

    @property
    def differences(self) -> dict[tuple[str, str], int]:
        """The lines less the accounts, by account and currency: zero, or the report is wrong."""
        left = {key: -units for key, units in self.revenue.items()}
        for line in self.lines:
            for account, units in (
                (AccountKind.FEE_REVENUE, line.platform_fees - line.platform_fees_returned),
                (AccountKind.DISPUTE_FEE_REVENUE, line.dispute_fees - line.dispute_fees_returned),
            ):
                if units or (account, line.currency) in left:
                    left[account, line.currency] = left.get((account, line.currency), 0) + units
        return left


def tenants(engine: Engine) -> list[RowMapping]:
    """Every tenant, the newest first: ``id``, ``name``, ``mode``, ``reporting_currency``, ``escrows`` (their number)
    and ``latest_escrow``."""
    with engine.connect() as connection:
        return list(connection.execute(text(_TENANTS)).mappings())


def trial_balance(engine: Engine, tenant: str, span: Span) -> list[AccountLine]:
    """Opening balance, debits, credits and closing balance of every kind of account, period by period.

    In a period without an entry nothing changed. Only that in which the span ends is told all the same, so that there
    is always a balance at its end.
    """
    with snapshot(engine) as connection:
        return _account_lines(connection, tenant, span)


def liquidity(engine: Engine, tenant: str, span: Span) -> list[Liquidity]:
    """What is owed against the money that is there, at the end of each period."""
    balances: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for line in trial_balance(engine, tenant, span):
        balances[line.period, line.currency][line.account] = line.closing
    return [Liquidity(period, currency, closing) for (period, currency), closing in balances.items()]


def fees(engine: Engine, tenant: str, span: Span) -> Fees:
    """Fees earned by period, currency, category and outcome, from the entries of the revenue accounts."""
    with snapshot(engine) as connection:
        lines = [FeeLine(**_exact(row)) for row in _rows(connection, _FEES, tenant, span, "t.posted_at")]
        revenue: dict[tuple[str, str], int] = defaultdict(int)
        for account in _account_lines(connection, tenant, span):
            if account.account in Liquidity.REVENUE:
                revenue[account.account, account.currency] += account.closing - account.opening
        return Fees(lines, dict(revenue))


def settlements(engine: Engine, tenant: str, span: Span) -> list[SettlementLine]:
    """Settlements by period and outcome, in the deals' currency and in the reporting one, which is never translated
    again."""
    with snapshot(engine) as connection:
        return [SettlementLine(**_exact(row)) for row in _rows(connection, _SETTLEMENTS, tenant, span, "created_at")]


def _account_lines(connection: Connection, tenant: str, span: Span) -> list[AccountLine]:
    """Roll the balances forward, from before the span through each of its periods."""
    sides: dict[tuple[str, str], str] = {}
    moved: dict[str | None, dict[tuple[str, str], tuple[int, int]]] = defaultdict(dict)
    for row in _rows(connection, _SUMS, tenant, span, "t.posted_at"):
        key = (row["currency"], row["account"])
        sides[key] = row["normal_side"]
        moved[row["period"]][key] = (int(row["debit"]), int(row["credit"]))
    before = moved.pop(None, {})
    if last := _last_period(span, moved=bool(moved)):
        moved.setdefault(last, {})  # also when nothing moved: what was there before is still there
    balances = {key: AccountLine("", *key, sides[key], 0, *sums).closing for key, sums in before.items()}
    lines = []
    for period, sums in moved.items():
        for key in sorted({*balances, *sums}):
            line = AccountLine(str(period), *key, sides[key], balances.get(key, 0), *sums.get(key, (0, 0)))
            balances[key] = line.closing
            lines.append(line)
    return lines


def _last_period(span: Span, *, moved: bool) -> str | None:
    """The period in which a span ends. One without an end ends with its last entry, or is over as it begins."""
    if span.by == "total":
        return TOTAL
    day = span.start
    if span.end is not None:
        day = span.end - timedelta(days=1) if span.end > date.min else None
    elif moved:
        return None
    return day.isoformat()[: _LABEL_LENGTHS[span.by]] if day else None


def _rows(connection: Connection, query: str, tenant: str, span: Span, moment: str) -> Sequence[RowMapping]:
    period = _PERIODS[span.by].format(moment)
    scope = {"tenant": tenant, "start": _midnight(span.start), "end": _midnight(span.end)}
    return connection.execute(text(query.format(period=period)), scope).mappings().all()


def _midnight(day: date | None) -> datetime | None:
    return datetime.combine(day, time(), UTC) if day else None


def _exact(row: RowMapping) -> dict[str, Any]:
    """PostgreSQL sums integers into decimals."""
    return {name: value if isinstance(value, str) else int(value) for name, value in row.items()}
