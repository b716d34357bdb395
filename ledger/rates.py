"""Exchange rates in PostgreSQL: added, never changed; and which of them is in force. Source: domain.md, section 10.

A tenant's own rate, either way round, wins over everyone's. Where there is none between two currencies, everyone's is
taken, and last a cross over the euro, each leg the tenant's own if it has one. Of several days the newest counts, of
several rates of one day the one that was written last.
"""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from sqlalchemy import Connection, Engine, text

from models.errors import ErrorCode, RefusedError
from models.exchange import LEAST_RATE, MOST_RATE, PIVOT, Rate, cross, inverse

RATES: Final = "newest_rates(t.id, s.currency, t.reporting_currency)::text"
"""What ``pick`` needs, as a column of ``ledger.load.CIRCUMSTANCES``: the tenant is ``t``, what it is about ``s``."""

# A rate of tomorrow may be today's farther east; one of next year would stay the newest for a year.
_AHEAD: Final = timedelta(days=1)

# What is in force already is not written again: the last word on a day, from the same source.
_ADD: Final = """
INSERT INTO exchange_rate (tenant_id, base, quote, rate, as_of, source)
SELECT CAST(:tenant AS text), told.base, told.quote, told.rate, told.as_of, told.source
FROM json_to_recordset(CAST(:rates AS json)) AS told (base text, quote text, rate numeric, as_of date, source text)
LEFT JOIN LATERAL (
    SELECT r.rate, r.source FROM exchange_rate r
    WHERE r.base = told.base AND r.quote = told.quote AND r.tenant_id IS NOT DISTINCT FROM CAST(:tenant AS text)
        AND r.as_of = told.as_of
    ORDER BY r.id DESC LIMIT 1
) AS known ON true
WHERE (told.rate, told.source) IS DISTINCT FROM (known.rate, known.source)
"""

# From one pair to the next in the index, and not through years of every pair's rates.
_LISTED: Final = """
WITH RECURSIVE pair AS (
    (SELECT base, quote FROM exchange_rate ORDER BY base, quote LIMIT 1)
    UNION ALL
    SELECT following.base, following.quote FROM pair CROSS JOIN LATERAL (
        SELECT r.base, r.quote FROM exchange_rate r WHERE (r.base, r.quote) > (pair.base, pair.quote)
        ORDER BY r.base, r.quote LIMIT 1) AS following
)
SELECT DISTINCT ON (pair.base, pair.quote) r.base, r.quote, r.rate::text, r.as_of, r.source
FROM pair CROSS JOIN LATERAL newest_of_pair(:tenant, pair.base, pair.quote) AS r
ORDER BY pair.base, pair.quote, r.tenant_id
"""


def put_rates(engine: Engine, rates: Sequence[Rate], tenant: str | None = None) -> int:
    """Add rates, a tenant's own or everyone's; answers how many were new. What is in force already is not written.

    All or none. Raises ``RefusedError`` (invalid_command, not_found) for a rate between a currency and itself, one out
    of bounds or of a day to come, and for an unknown tenant.
    """
    with engine.begin() as connection:
        # One writer of a tenant's rates at a time, so that two cannot both find the same one new.
        connection.execute(
            text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"rates:{tenant or ''}"}
        )
        latest = (datetime.now(UTC) + _clock(connection, tenant) + _AHEAD).date()
        for rate in rates:
            if refusal := _wrong(rate, latest):
                raise RefusedError(ErrorCode.INVALID_COMMAND, refusal)
        told = f"[{','.join(rate.model_dump_json() for rate in rates)}]"
        return connection.execute(text(_ADD), {"tenant": tenant, "rates": told}).rowcount


def put_rate(engine: Engine, tenant: str, rate: Rate) -> int:
    """Add one rate of a tenant's own; answers whether it is new, as 0 or 1. Raises as ``put_rates`` does."""
    return put_rates(engine, [rate], tenant)


def newest(engine: Engine, tenant: str | None, base: str, quote: str) -> Rate | None:
    """The rate in force for a tenant (None: one without rates of its own), or None; 1 between a currency and itself."""
    if base == quote:
        return Rate.identity(base, datetime.now(UTC).date())
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT newest_rates(:tenant, :base, :quote)::text"), {"tenant": tenant, "base": base, "quote": quote}
        )
        return pick(found.scalar_one(), base, quote)


def listed(engine: Engine, tenant: str) -> list[Rate]:
    """Every pair's newest rate as it was told, the tenant's own in place of everyone's, by base and quote."""
    with engine.connect() as connection:
        rows = connection.execute(text(_LISTED), {"tenant": tenant}).mappings()
        return [Rate.model_validate(dict(row)) for row in rows]


@lru_cache(maxsize=512)
def pick(candidates: str | None, base: str, quote: str, oldest: date | None = None) -> Rate | None:
    """The rate in force among what SQL's ``newest_rates`` answered for the same two currencies, as JSON text.

    One of before ``oldest`` is passed over, if there is another. None when there is none, and when the currencies are
    the same: then SQL looks nothing up and none is needed.
    """
    if candidates is None:
        return None
    own: list[Rate] = []
    everyones: list[Rate] = []
    for candidate in json.loads(candidates):
        belongs = own if candidate.pop("own") else everyones
        belongs.append(Rate.model_validate_json(json.dumps(candidate)))
    found = (
        _direct(own, base, quote),
        _direct(everyones, base, quote),
        _over_pivot(own, everyones, base, quote),
        _over_pivot([], everyones, base, quote),
    )
    in_order = [rate for rate in found if rate]
    return next((rate for rate in in_order if oldest is None or rate.as_of >= oldest), next(iter(in_order), None))


def _direct(rates: list[Rate], base: str, quote: str) -> Rate | None:
    """The newer of a rate between the two and one the other way round; of one day, the one that was told as asked."""
    straight = [rate for rate in rates if (rate.base, rate.quote) == (base, quote)]
    turned = [inverse(rate) for rate in rates if (rate.base, rate.quote) == (quote, base)]
    return max(straight + turned, key=lambda rate: rate.as_of, default=None)


def _over_pivot(own: list[Rate], everyones: list[Rate], base: str, quote: str) -> Rate | None:
    legs = [_direct(own, PIVOT, one) or _direct(everyones, PIVOT, one) for one in (base, quote)]
    return cross(legs[0], legs[1]) if legs[0] and legs[1] else None


def _wrong(rate: Rate, latest: date) -> str | None:
    """What keeps a rate from being written down."""
    if rate.base == rate.quote:
        return f"a rate is between two currencies, and both are {rate.base}"
    if not LEAST_RATE <= rate.rate <= MOST_RATE:
        return f"the rate from {rate.base} to {rate.quote} must lie between {LEAST_RATE:f} and {MOST_RATE:f}"
    if rate.as_of > latest:
        return f"the rate from {rate.base} to {rate.quote} is of {rate.as_of}, a day to come: {latest} is the latest"
    return None


def _clock(connection: Connection, tenant: str | None) -> timedelta:
    """How far the tenant's clock is ahead of everyone's."""
    if tenant is None:
        return timedelta(0)
    offset = connection.execute(text("SELECT clock_offset FROM tenant WHERE id = :id"), {"id": tenant}).scalar()
    if offset is None:
        raise RefusedError(ErrorCode.NOT_FOUND, f"there is no tenant {tenant}")
    return timedelta(seconds=offset)
