"""Wallets, payouts, exchange rates."""

from datetime import date
from decimal import Decimal
from typing import Unpack

from holdfast_client.answers.books import Charge, Rate, Wallet
from holdfast_client.answers.deals import Escrow, Payout
from holdfast_client.calls import Command, Once
from holdfast_client.listing import Listing, Page
from holdfast_client.routes.section import Section


class Money(Section):
    """Money in and out."""

    def get_wallets(self, party: str) -> list[Wallet]:
        """A party's money, per currency."""
        return self._calls.get(Page[Wallet], "/v1/wallets/{}", party).data

    def top_up(self, party: str, *, amount: int, currency: str, payment_method: str, **how: Unpack[Once]) -> Charge:
        """Charge a payment method for a wallet. Raises ``PaymentRequiredError`` (``payment_declined``)."""
        body = {"amount": amount, "currency": currency, "payment_method": payment_method}
        return self._calls.post(Charge, "/v1/wallets/{}/topups", party, body=body, **how)

    def get_top_up(self, party: str, charge: str) -> Charge:
        """What became of a charge for a wallet."""
        return self._calls.get(Charge, "/v1/wallets/{}/topups/{}", party, charge)

    def list_payouts(self, *, status: str | None = None, party: str | None = None) -> Listing[Payout]:
        """Payouts, newest first."""
        return self._calls.listing(Payout, "/v1/payouts", status=status, party=party)

    def get_payout(self, payout: str) -> Payout:
        """One payout as it stands."""
        return self._calls.get(Payout, "/v1/payouts/{}", payout)

    def retry_payout(self, payout: str, *, destination: str | None = None, **how: Unpack[Command]) -> Escrow:
        """Send a failed or returned payout again, to the seller's destination or to another one."""
        return self._calls.post(Escrow, "/v1/payouts/{}/retry", payout, body={"destination": destination}, **how)

    def list_rates(self) -> Listing[Rate]:
        """The newest rate of every pair."""
        return self._calls.listing(Rate, "/v1/exchange-rates")

    def put_rate(
        self,
        *,
        base: str,
        quote: str,
        rate: Decimal | str,
        as_of: date | str,
        source: str | None = None,
        **how: Unpack[Once],
    ) -> Rate:
        """Tell what one unit of ``base`` is worth in ``quote``. For operators."""
        body = {"base": base, "quote": quote, "rate": rate, "as_of": as_of, "source": source}
        return self._calls.put(Rate, "/v1/exchange-rates", body=body, **how)
