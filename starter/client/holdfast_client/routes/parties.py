"""Parties: who buys and sells."""

from typing import Unpack

from holdfast_client.answers.accounts import Party, Screening
from holdfast_client.answers.deals import Payout
from holdfast_client.calls import Once
from holdfast_client.listing import Listing, Page
from holdfast_client.routes.section import Section


class Parties(Section):
    """Who buys and sells."""

    def list_parties(self) -> Listing[Party]:
        """Parties of whom something was told, newest first."""
        return self._calls.listing(Party, "/v1/parties")

    def get_party(self, party: str) -> Party:
        """A party of which something was told."""
        return self._calls.get(Party, "/v1/parties/{}", party)

    def put_party(
        self,
        party: str,
        *,
        name: str | None = None,
        email: str | None = None,
        language: str | None = None,
        kyc_status: str | None = None,
        payout_destination: str | None = None,
        **how: Unpack[Once],
    ) -> Party:
        """Tell of a party, new or known; what is left out stays as it is."""
        body = {
            "name": name,
            "email": email,
            "language": language,
            "kyc_status": kyc_status,
            "payout_destination": payout_destination,
        }
        return self._calls.put(Party, "/v1/parties/{}", party, body=body, **how)

    def forget_party(self, party: str, **how: Unpack[Once]) -> None:
        """Forget who a party is, for good; its money, and what was recorded of it, stay. For operators."""
        self._calls.delete("/v1/parties/{}/personal-data", party, **how)

    def block_party(self, party: str, *, because: str, **how: Unpack[Once]) -> Party:
        """Freeze a party's money. For operators."""
        return self._calls.post(Party, "/v1/parties/{}/block", party, body={"because": because}, **how)

    def unblock_party(self, party: str, **how: Unpack[Once]) -> Party:
        """Let a party's money move again. For operators."""
        return self._calls.post(Party, "/v1/parties/{}/unblock", party, **how)

    def screen_party(self, party: str, **how: Unpack[Once]) -> Screening:
        """Have a party screened now. For operators."""
        return self._calls.post(Screening, "/v1/parties/{}/screen", party, **how)

    def request_payouts(self, party: str, **how: Unpack[Once]) -> list[Payout]:
        """Ask for all of a party's payouts that are held, as the manual trigger wants it."""
        return self._calls.post(Page[Payout], "/v1/parties/{}/payouts", party, **how).data
