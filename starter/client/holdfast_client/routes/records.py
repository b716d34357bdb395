"""What the books recorded, and reports of them."""

from datetime import date
from typing import Literal

from holdfast_client.answers.accounts import Event
from holdfast_client.answers.books import AuditRow, Report, Settlement, Transaction
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section

ReportName = Literal["liquidity", "trial-balance", "fees", "settlements"]
By = Literal["day", "month", "total"]


class Records(Section):
    """The books."""

    def list_settlements(self, escrow: str) -> Listing[Settlement]:
        """An escrow's settlements, newest first."""
        return self._calls.listing(Settlement, "/v1/escrows/{}/settlements", escrow)

    def list_transactions(self, escrow: str) -> Listing[Transaction]:
        """An escrow's ledger transactions with their entries, newest first."""
        return self._calls.listing(Transaction, "/v1/escrows/{}/ledger", escrow)

    def list_audit(self, escrow: str) -> Listing[AuditRow]:
        """Every command on an escrow that was decided, newest first."""
        return self._calls.listing(AuditRow, "/v1/escrows/{}/audit", escrow)

    def tell_audit(self, escrow: str) -> str:
        """The whole story of an escrow as a text, from its beginning."""
        return self._calls.text("/v1/escrows/{}/audit", escrow, format="text")

    def list_escrow_events(self, escrow: str) -> Listing[Event]:
        """What happened to an escrow, newest first."""
        return self._calls.listing(Event, "/v1/escrows/{}/events", escrow)

    def report(
        self,
        name: ReportName,
        *,
        start: date | str | None = None,
        end: date | str | None = None,
        by: By | None = None,
    ) -> Report:
        """A report of one's own books, from ``start`` on; ``end`` is the first day that does not count."""
        query = {"from": start, "to": end, "by": by}
        return self._calls.get(Report, "/v1/reports/{}", name, **query)

    def report_csv(
        self,
        name: ReportName,
        *,
        start: date | str | None = None,
        end: date | str | None = None,
        by: By | None = None,
    ) -> str:
        """The same as CSV."""
        query = {"from": start, "to": end, "by": by}
        return self._calls.text("/v1/reports/{}", name, format="csv", **query)
