"""Milestones: changed before funding, then submitted and approved."""

from collections.abc import Sequence
from datetime import date
from typing import Unpack

from holdfast_client.answers.deals import Escrow, Milestone
from holdfast_client.calls import Command
from holdfast_client.routes.section import Section
from holdfast_client.said import EvidenceDraft


class Milestones(Section):
    """The parts of an escrow. Commands answer the escrow as it now is."""

    def add_milestone(
        self,
        escrow: str,
        *,
        title: str,
        amount: int,
        description: str | None = None,
        due: date | str | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """Add one at the end, only in ``created``."""
        body = {"title": title, "amount": amount, "description": description, "due": due}
        return self._calls.post(Escrow, "/v1/escrows/{}/milestones", escrow, body=body, **how)

    def get_milestone(self, milestone: str) -> Milestone:
        """One milestone as it stands."""
        return self._calls.get(Milestone, "/v1/milestones/{}", milestone)

    def change_milestone(
        self,
        milestone: str,
        *,
        title: str | None = None,
        description: str | None = None,
        amount: int | None = None,
        due: date | str | None = None,
        **how: Unpack[Command],
    ) -> Escrow:
        """Change one in place, only in ``created``."""
        body = {"title": title, "description": description, "amount": amount, "due": due}
        return self._calls.put(Escrow, "/v1/milestones/{}", milestone, body=body, **how)

    def submit_milestone(
        self, milestone: str, *, evidence: Sequence[EvidenceDraft] | None = None, **how: Unpack[Command]
    ) -> Escrow:
        """The seller says that it is done; under mode ``auto`` the review window begins."""
        return self._calls.post(Escrow, "/v1/milestones/{}/submit", milestone, body={"evidence": evidence}, **how)

    def withdraw_submission(self, milestone: str, **how: Unpack[Command]) -> Escrow:
        """The seller takes a mistaken submission back before it is reviewed."""
        return self._calls.post(Escrow, "/v1/milestones/{}/withdraw", milestone, **how)

    def approve_milestone(self, milestone: str, **how: Unpack[Command]) -> Escrow:
        """The buyer accepts it: its money is released."""
        return self._calls.post(Escrow, "/v1/milestones/{}/approve", milestone, **how)

    def reject_milestone(self, milestone: str, *, reason: str, **how: Unpack[Command]) -> Escrow:
        """The buyer asks for changes."""
        return self._calls.post(Escrow, "/v1/milestones/{}/reject", milestone, body={"reason": reason}, **how)

    def reverse_milestone(self, milestone: str, *, amount: int, reason: str, **how: Unpack[Command]) -> Escrow:
        """Return a part to the buyer, before its release or after it."""
        body = {"amount": amount, "reason": reason}
        return self._calls.post(Escrow, "/v1/milestones/{}/reverse", milestone, body=body, **how)
