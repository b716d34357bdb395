"""Disputes: raised, answered, judged."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, Unpack

from holdfast_client.answers.deals import Dispute, Escrow
from holdfast_client.calls import Command
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section
from holdfast_client.said import EvidenceDraft

Resolution = Literal["buyer_favor", "seller_favor", "partial_refund", "split", "mediation"]


class Disputes(Section):
    """Disagreements."""

    def raise_dispute(
        self,
        escrow: str,
        *,
        reason: str,
        description: str,
        evidence: Sequence[EvidenceDraft] | None = None,
        milestones: Sequence[str] | None = None,
        **how: Unpack[Command],
    ) -> Dispute:
        """Freeze the named milestones, or all that is held."""
        body = {"reason": reason, "description": description, "evidence": evidence, "milestones": milestones}
        return self._calls.post(Dispute, "/v1/escrows/{}/disputes", escrow, body=body, **how)

    def list_disputes(self, *, status: str | None = None) -> Listing[Dispute]:
        """Disputes, newest first."""
        return self._calls.listing(Dispute, "/v1/disputes", status=status)

    def get_dispute(self, dispute: str) -> Dispute:
        """One dispute as it stands."""
        return self._calls.get(Dispute, "/v1/disputes/{}", dispute)

    def add_evidence(
        self,
        dispute: str,
        *,
        statement: str | None = None,
        evidence: Sequence[EvidenceDraft] | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """Answer in a dispute: each side, or an operator."""
        body = {"statement": statement, "evidence": evidence}
        return self._calls.post(Escrow, "/v1/disputes/{}/evidence", dispute, body=body, **how)

    def review_dispute(self, dispute: str, **how: Unpack[Command]) -> Escrow:
        """An operator takes it."""
        return self._calls.post(Escrow, "/v1/disputes/{}/review", dispute, **how)

    def resolve_dispute(
        self,
        dispute: str,
        *,
        resolution: Resolution,
        details: str,
        refund_amount: int | None = None,
        seller_share: Decimal | str | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """An operator decides. ``partial_refund`` needs ``refund_amount``, ``split`` a ``seller_share``: "0.70"."""
        body = {
            "resolution": resolution,
            "details": details,
            "refund_amount": refund_amount,
            "seller_share": seller_share,
        }
        return self._calls.post(Escrow, "/v1/disputes/{}/resolve", dispute, body=body, **how)

    def close_dispute(self, dispute: str, **how: Unpack[Command]) -> Escrow:
        """An operator closes the file of a resolved dispute."""
        return self._calls.post(Escrow, "/v1/disputes/{}/close", dispute, **how)
