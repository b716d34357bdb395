"""A tenant with something in every state, for requests that are made up: what their paths and headers should name."""

import re
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4
from zlib import crc32

from starter.api.once import KEY
from tests.api.service import Tenant

_PEOPLE: Final = ("buyer:alice", "seller:bob", "operator:olga", "buyer:mallory")
_USUALLY: Final = (
    (re.compile(r"/(start|submit|withdraw|payouts|retry)$"), "seller:bob"),
    (re.compile(r"/(fund|approve|reject|cancel|refund|complete|disputes|evidence|topups?)/?$"), "buyer:alice"),
)
_ACTOR: Final = re.compile(r"(buyer|seller|operator):[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_VERSION: Final = re.compile(r'"[1-9][0-9]{0,17}"')
_EVIDENCE: Final = [{"name": "design.pdf", "url": "https://files.example.com/design.pdf"}]
# Whoever is blocked, forgotten or moved in time would let nothing else happen to the others.
_EXPENDABLE: Final = re.compile(r"/(block|unblock|personal-data)$")


@dataclass
class Marketplace:
    """``things`` has ids by the name that paths have for them."""

    tenant: Tenant
    things: dict[str, list[str]] = field(default_factory=dict)

    def furnished(self) -> "Marketplace":
        """With escrows that were agreed, funded, begun, submitted, paid, disputed, judged and given up."""
        self._write_terms()
        for escrow in self._escrows():
            self._note(self.tenant.operator.get(f"/v1/escrows/{escrow}"))
        self.things |= {
            "endpoint": [self._endpoint() for _ in range(3)],
            "key": [self._key() for _ in range(4)],
            "event": self._events(),
            "charge": [self._top_up()["id"]],
            "party": ["alice", "bob", "mallory"],
        }
        return self

    def settle(self, path: str, values: dict[str, Any], names: MutableMapping[str, Any]) -> None:
        """Put ids of things that exist in place of most that were made up, and people in place of strangers.

        ``values`` are of the path, ``names`` are the headers; both are changed. What is no id at all stays.
        Schemathesis takes "0" for the shortest text that a header's pattern allows, which it is not.
        """
        for name, value in values.items():
            known = self.things.get("jwt" if name == "key" and "jwt" in path else name, [])
            if not known or not isinstance(value, str) or not _like(known[0], value):
                continue
            drawn = crc32(value.encode())
            if drawn % 5:
                values[name] = "mallory" if _EXPENDABLE.search(path) else known[drawn % len(known)]
        drawn = crc32(f"{path}{values}{sorted(names.items())}".encode())
        if KEY.fullmatch(names.get("Idempotency-Key", "")) and drawn % 10:
            names["Idempotency-Key"] = uuid4().hex
        version, actor = names.get("If-Match", ""), names.get("Holdfast-Actor", "")
        if version == "0" or (_VERSION.fullmatch(version) and drawn % 4):
            names["If-Match"] = "*"
        usual = next((one for where, one in _USUALLY if where.search(path)), None)
        if actor == "0" or (_ACTOR.fullmatch(actor) and drawn % 7):
            names["Holdfast-Actor"] = _PEOPLE[drawn % len(_PEOPLE)] if drawn % 4 == 0 else usual or "operator:olga"
        elif usual and not actor and drawn % 4:
            names["Holdfast-Actor"] = usual

    def _write_terms(self) -> None:
        self.tenant.ready()
        operator = self.tenant.operator
        operator.put("/v1/exchange-rates", {"base": "USD", "quote": "EUR", "rate": "0.92", "as_of": "2026-11-20"})
        for party in ("alice", "mallory"):
            operator.put(f"/v1/parties/{party}", {"name": party, "email": f"{party}@example.com"})
        operator.post("/v1/policies/release", {"payout": {"trigger": "event"}})

    def _escrows(self) -> list[str]:
        tenant = self.tenant
        agreed = [tenant.create()["id"] for _ in range(3)]
        funded = [tenant.funded()["id"] for _ in range(3)]
        submitted = [tenant.submitted() for _ in range(3)]
        paid, disputed, judged = (tenant.submitted() for _ in range(3))
        ended = tenant.funded()
        for one in (paid, judged):
            tenant.alice.post(f"/v1/milestones/{one['milestones'][0]['id']}/approve")
        dispute = {"reason": "late", "description": "It is late.", "evidence": _EVIDENCE}
        for one in (disputed, judged):
            raised = tenant.alice.post(f"/v1/escrows/{one['id']}/disputes", dispute)
        tenant.operator.post(f"/v1/disputes/{raised['id']}/review")
        how = {"resolution": "split", "details": "Half of it.", "seller_share": "0.5"}
        tenant.operator.post(f"/v1/disputes/{raised['id']}/resolve", how)
        tenant.operator.post(f"/v1/escrows/{ended['id']}/cancel", {"reason": "both agreed"})
        return [*agreed, *funded, *(one["id"] for one in (*submitted, paid, disputed, judged, ended))]

    def _note(self, escrow: Any) -> None:
        found = {"escrow": [escrow["id"]]} | {
            name: [one["id"] for one in escrow[f"{name}s"]] for name in ("milestone", "dispute", "payout")
        }
        for name, ids in found.items():
            self.things.setdefault(name, []).extend(ids)

    def _endpoint(self) -> str:
        made = self.tenant.operator.post("/v1/webhook-endpoints", {"url": "http://127.0.0.1:9/hook", "events": ["*"]})
        return str(made["id"])

    def _events(self) -> list[str]:
        escrow = self.things["escrow"][0]
        return [one["id"] for one in self.tenant.operator.get(f"/v1/escrows/{escrow}/events")["data"]]

    def _key(self) -> str:
        return str(self.tenant.operator.post("/v1/api-keys", {"role": "platform", "name": "spare"})["id"])

    def _top_up(self) -> Any:
        body = {"amount": 1000, "currency": "EUR", "payment_method": "pm_card_visa"}
        return self.tenant.operator.post("/v1/wallets/alice/topups", body)


def _like(known: str, value: str) -> bool:
    """Whether it is an id of that kind, or could be a party's."""
    prefix, _, rest = known.partition("_")
    return value.startswith(f"{prefix}_") and len(value) == len(known) if rest else value.isascii() and value.isalnum()
