"""Escrows: agreeing, funding, working, ending."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal, Unpack

from holdfast_client.answers.deals import Escrow
from holdfast_client.calls import Command, Once
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section
from holdfast_client.said import MilestoneDraft, ReleaseDraft


class Escrows(Section):
    """Agreements."""

    def create_escrow(
        self,
        *,
        buyer: str,
        seller: str,
        amount: int,
        currency: str,
        title: str,
        category: str | None = None,
        milestones: Sequence[MilestoneDraft] | None = None,
        template: str | None = None,
        event_date: date | str | None = None,
        release: ReleaseDraft | None = None,
        metadata: Mapping[str, str] | None = None,
        **how: Unpack[Once],
    ) -> Escrow:
        """Agree: state ``created``, version 1. Milestones are listed, or come from a template and the event's date."""
        body = {
            "buyer": buyer,
            "seller": seller,
            "amount": amount,
            "currency": currency,
            "title": title,
            "category": category,
            "milestones": milestones,
            "template": template,
            "event_date": event_date,
            "release": release,
            "metadata": metadata,
        }
        return self._calls.post(Escrow, "/v1/escrows", body=body, **how)

    def list_escrows(
        self, *, state: str | None = None, buyer: str | None = None, seller: str | None = None
    ) -> Listing[Escrow]:
        """Escrows, newest first."""
        return self._calls.listing(Escrow, "/v1/escrows", state=state, buyer=buyer, seller=seller)

    def get_escrow(self, escrow: str) -> Escrow:
        """One escrow as it stands."""
        return self._calls.get(Escrow, "/v1/escrows/{}", escrow)

    def amend_escrow(
        self,
        escrow: str,
        *,
        title: str | None = None,
        amount: int | None = None,
        milestones: Sequence[MilestoneDraft] | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """Change it, only in ``created``: funding is acceptance."""
        body = {"title": title, "amount": amount, "milestones": milestones}
        return self._calls.put(Escrow, "/v1/escrows/{}", escrow, body=body, **how)

    def fund_escrow(
        self,
        escrow: str,
        *,
        source: Literal["wallet", "gateway"] | None = None,
        payment_method: str | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """Put the whole amount in escrow, from the buyer's wallet or by a payment method.

        Raises ``PaymentRequiredError`` with what is missing.
        """
        body = {"source": source, "payment_method": payment_method}
        return self._calls.post(Escrow, "/v1/escrows/{}/fund", escrow, body=body, **how)

    def start_work(self, escrow: str, *, reason: str | None = None, **how: Unpack[Command]) -> Escrow:
        """The seller begins."""
        return self._calls.post(Escrow, "/v1/escrows/{}/start", escrow, body={"reason": reason}, **how)

    def complete_escrow(self, escrow: str, *, reason: str | None = None, **how: Unpack[Command]) -> Escrow:
        """Release all that is still held."""
        return self._calls.post(Escrow, "/v1/escrows/{}/complete", escrow, body={"reason": reason}, **how)

    def cancel_escrow(self, escrow: str, *, reason: str | None = None, **how: Unpack[Command]) -> Escrow:
        """End it: what is held returns to the buyer, the seller keeps what was approved."""
        return self._calls.post(Escrow, "/v1/escrows/{}/cancel", escrow, body={"reason": reason}, **how)

    def refund_escrow(
        self, escrow: str, *, amount: int | None = None, reason: str | None = None, **how: Unpack[Command]
    ) -> Escrow:
        """Return everything before work starts; ``amount``, if given, must be what is refundable."""
        body = {"amount": amount, "reason": reason}
        return self._calls.post(Escrow, "/v1/escrows/{}/refund", escrow, body=body, **how)
