"""What a tenant writes down beforehand, and what a fee would come to."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, Unpack

from holdfast_client.answers.books import Policy, Quote, Template
from holdfast_client.calls import Once
from holdfast_client.listing import Listing
from holdfast_client.routes.section import Section

PolicyKind = Literal["fees", "release", "dispute", "spend", "compliance"]


class Policies(Section):
    """Terms."""

    def write_policy(self, kind: PolicyKind, document: Mapping[str, Any], **how: Unpack[Once]) -> Policy:
        """Write a new version of a policy, in force at once."""
        return self._calls.post(Policy, "/v1/policies/{}", kind, body=document, **how)

    def get_policy(self, kind: PolicyKind) -> Policy:
        """The version that is in force. Raises ``NotFoundError`` while none was written."""
        return self._calls.get(Policy, "/v1/policies/{}", kind)

    def get_policy_version(self, kind: PolicyKind, version: int) -> Policy:
        """A version of a policy: each is kept for ever."""
        return self._calls.get(Policy, "/v1/policies/{}/{}", kind, str(version))

    def write_template(self, *, name: str, milestones: Sequence[Mapping[str, Any]], **how: Unpack[Once]) -> Template:
        """Write a milestone template: each with ``title``, ``percent`` ("30") and ``days`` from the event."""
        return self._calls.post(Template, "/v1/templates", body={"name": name, "milestones": milestones}, **how)

    def list_templates(self) -> Listing[Template]:
        """The tenant's own, newest first, then those that are built in."""
        return self._calls.listing(Template, "/v1/templates", after="name")

    def quote_fee(
        self,
        *,
        amount: int,
        currency: str,
        outcome: str | None = None,
        category: str | None = None,
        seller: str | None = None,
        seller_share: Decimal | str | None = None,
    ) -> Quote:
        """The exact division that would be settled now: of a release in ``general``, unless it is said otherwise."""
        body = {
            "amount": amount,
            "currency": currency,
            "outcome": outcome,
            "category": category,
            "seller": seller,
            "seller_share": seller_share,
        }
        return self._calls.post(Quote, "/v1/fee-quotes", body=body)
