"""Rounds of conflicting requests over HTTP: from many clients at once, through two APIs and two pairs of workers.

What may be accepted is said by small rules of this file, in the order that the audit gives: of one version one command
wins, a milestone is decided once, a wallet pays what it has, an Idempotency-Key stands for one body.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final
from uuid import uuid4

import httpx
from sqlalchemy import Engine

from ledger import reads
from ledger.audit import verify
from tests.api.service import Api, Caller, Tenant
from tests.api.service import api as running_api
from tests.database.books_check import trial_balance_is_even
from tests.races.arena import without_deadlocks
from tests.races.town import RIVALS, Crowd
from tests.servers import Servers, eventually
from tests.workers import Workers

Ask = Callable[[], httpx.Response]
Asked = tuple[Caller, str, Any, dict[str, str]]

ACCEPTED: Final = "accepted"
# A refusal of the rules, or of a key that is in use: nothing else is an answer to a conflict.
REFUSALS: Final = {
    (402, "payment_required"), (409, "conflict"), (409, "invalid_transition"), (409, "idempotency_in_progress"),
    (422, "idempotency_key_reused"),
}  # fmt: skip
_UNLIMITED: Final = {"HOLDFAST_API_REQUESTS_PER_SECOND": "100000"}


def answer_of(response: httpx.Response) -> str:
    """``accepted`` or the code of a refusal; anything else is a failure of the test."""
    if response.is_success:
        return ACCEPTED
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    problem = response.json()
    assert (response.status_code, problem["code"]) in REFUSALS, response.text
    assert problem["detail"]
    return str(problem["code"])


def definite(ask: Ask) -> httpx.Response | None:
    """The answer to the same request once more, unless it is still not known."""
    answer = ask()
    return None if answer.status_code == httpx.codes.ACCEPTED else answer


@dataclass(frozen=True)
class Ring:
    """Two APIs and everyone who asks them; ``engine`` is the books' own."""

    tenant: Tenant
    doors: tuple[httpx.Client, ...]
    engine: Engine
    crowd: Crowd
    dice: Random
    answers: Counter[tuple[str, str]]

    def through(self, caller: Caller, number: int) -> Caller:
        """The same caller at the one door or the other."""
        return Caller(self.doors[number % len(self.doors)], caller.key, caller.actor)

    def fire(self, *asks: Asked) -> list[httpx.Response]:
        """Post everything at the same instant, at both doors in turn. What is not known yet is asked for again."""
        works: list[Ask] = [
            partial(self.through(caller, number).ask, "POST", path, body, **{"key": uuid4().hex, **more})
            for number, (caller, path, body, more) in enumerate(asks)
        ]
        answers = self.crowd.at_once(works)
        for number, work in enumerate(works):
            if answers[number].status_code == httpx.codes.ACCEPTED:
                answers[number] = eventually(partial(definite, work)) or answers[number]
        for (_, path, _, _), response in zip(asks, answers, strict=True):
            self.answers[path.rsplit("/", 1)[-1], answer_of(response)] += 1
        return answers

    def submitted(self, amount: int) -> Any:
        """An escrow of one milestone, which is under review."""
        return self.tenant.submitted(amount=amount, milestones=[{"title": "All of it", "amount": amount}])

    def told(self, escrow: Any, *names: str) -> list[tuple[str, str]]:
        """What the audit has of these commands of an escrow: name and outcome, in the order of their decision."""
        rows = reads.audit(self.engine, escrow["id"])
        return [(row["name"], row["outcome"]) for row in rows if row["name"] in names]


def codes(responses: Sequence[httpx.Response]) -> Counter[str]:
    """What the answers were."""
    return Counter(map(answer_of, responses))


def of_one_version_one_wins(ring: Ring) -> None:
    """Edge case 1: approvals, a rejection, disputes and returns, all on the version that everybody saw."""
    escrow = ring.submitted(1000)
    milestone, tenant = f"/v1/milestones/{escrow['milestones'][0]['id']}", ring.tenant
    dispute = {"reason": "quality", "description": "The colours are wrong."}
    wishes: list[tuple[Caller, str, Any]] = [
        (tenant.alice, f"{milestone}/approve", None), (tenant.operator, f"{milestone}/approve", None),
        (tenant.alice, f"{milestone}/reject", {"reason": "no logo"}),
        (tenant.alice, f"/v1/escrows/{escrow['id']}/disputes", dispute),
        (tenant.bob, f"/v1/escrows/{escrow['id']}/disputes", dispute),
        (tenant.bob, f"{milestone}/reverse", {"amount": 1000, "reason": "not done"}),
    ]  # fmt: skip
    seen = {"If_Match": f'"{escrow["version"]}"'}
    fired = [(*wish, seen) for wish in (*wishes, *ring.dice.choices(wishes, k=6))]
    found = codes(ring.fire(*fired))
    assert found.pop(ACCEPTED) == 1, found
    assert set(found) <= {"conflict", "invalid_transition"}, found
    after = tenant.platform.get(f"/v1/escrows/{escrow['id']}")
    assert after["held"] + after["disputed"] + after["released"] + after["refunded"] == 1000


def a_milestone_is_decided_once(ring: Ring) -> None:
    """Nobody names a version: the audit's order says which of them came first, and what the others then found."""
    escrow = ring.submitted(900)
    milestone, tenant = f"/v1/milestones/{escrow['milestones'][0]['id']}", ring.tenant
    path = f"/v1/escrows/{escrow['id']}"
    wishes: list[Asked] = [
        (tenant.alice, f"{milestone}/approve", None, {}),
        (tenant.alice, f"{milestone}/reject", {"reason": "no logo"}, {}),
        (tenant.alice, f"{path}/disputes", {"reason": "quality", "description": "It does not open."}, {}),
        (tenant.bob, f"{path}/cancel", {}, {}),
    ]
    responses = ring.fire(*ring.dice.choices(wishes, k=RIVALS - len(wishes)), *wishes)
    names = ("approve_milestone", "reject_milestone", "dispute", "cancel")
    state, told = "milestone_pending", ring.told(escrow, *names)
    leads: dict[tuple[str, str], str] = {
        ("milestone_pending", "approve_milestone"): "completed", ("milestone_pending", "dispute"): "disputed",
        ("milestone_pending", "reject_milestone"): "in_progress", ("in_progress", "dispute"): "disputed",
        ("in_progress", "cancel"): "cancelled",
    }  # fmt: skip
    for name, outcome in told:
        after = leads.get((state, name))
        assert outcome == (ACCEPTED if after else "invalid_transition"), f"{name} in {state}: {told}"
        state = after or state
    assert codes(responses) == Counter(outcome for _, outcome in told)
    assert tenant.platform.get(path)["state"] == state


def a_wallet_pays_what_it_has(ring: Ring) -> None:
    """Edge case 4: of five fundings that the wallet can pay two of, two go through and three are 402."""
    tenant, buyer = ring.tenant, f"buyer-{uuid4().hex[:8]}"
    top_up = {"amount": 2500, "currency": "EUR", "payment_method": "pm_card_visa"}
    tenant.platform.post(f"/v1/wallets/{buyer}/topups", top_up)
    escrows = [tenant.create(buyer=buyer, amount=1000, milestones=[]) for _ in range(5)]
    by = tenant.platform.acting(f"buyer:{buyer}")
    responses = ring.fire(*((by, f"/v1/escrows/{one['id']}/fund", {"source": "wallet"}, {}) for one in escrows))
    assert codes(responses) == {ACCEPTED: 2, "payment_required": 3}
    assert [(one["available"], one["locked"]) for one in tenant.platform.get(f"/v1/wallets/{buyer}")["data"]] == [
        (500, 2000)
    ]


def a_key_stands_for_one_body(ring: Ring) -> None:
    """Edge case 2 at two doors: one key, two bodies, many times at once. One of the bodies happens, once."""
    tenant, key = ring.tenant, uuid4().hex
    bodies = [{"buyer": "alice", "seller": "bob", "currency": "EUR", "title": "One", "amount": one} for one in (11, 22)]
    fired = [(tenant.platform, "/v1/escrows", body, {"key": key}) for body in bodies * (RIVALS // 2)]
    responses = ring.fire(*fired)
    made = [(body["amount"], one) for (_, _, body, _), one in zip(fired, responses, strict=True) if one.is_success]
    assert len({(amount, one.json()["id"]) for amount, one in made}) == 1
    assert len([one for _, one in made if "Idempotent-Replayed" not in one.headers]) == 1
    others = codes([one for one in responses if not one.is_success])
    assert set(others) <= {"idempotency_key_reused", "idempotency_in_progress"}
    assert len(made) + others["idempotency_in_progress"] + others["idempotency_key_reused"] == RIVALS
    assert others["idempotency_key_reused"] <= RIVALS // 2


def a_card_is_charged_once(ring: Ring) -> None:
    """One key, one top-up, sixteen times at two doors: one charge, and the wallet has it once."""
    party = f"payer-{uuid4().hex[:8]}"
    body = {"amount": 700, "currency": "EUR", "payment_method": "pm_card_visa"}
    path, more = f"/v1/wallets/{party}/topups", {"key": uuid4().hex}
    responses = ring.fire(*[(ring.tenant.platform, path, body, more)] * RIVALS)
    assert set(codes(responses)) <= {ACCEPTED, "idempotency_in_progress"}
    assert len({one.json()["id"] for one in responses if one.status_code == 201}) == 1
    assert ring.tenant.platform.get(f"/v1/wallets/{party}")["data"][0]["available"] == 700


def a_dispute_has_one_verdict(ring: Ring) -> None:
    """Four verdicts from several operators: one settlement, and the others come too late."""
    escrow, tenant = ring.submitted(800), ring.tenant
    said = {"reason": "quality", "description": "It does not open."}
    dispute = tenant.alice.post(f"/v1/escrows/{escrow['id']}/disputes", said)
    path = f"/v1/disputes/{dispute['id']}"
    reviews = ring.fire(*[(tenant.operator, f"{path}/review", None, {})] * 6)
    assert codes(reviews) == {ACCEPTED: 1, "invalid_transition": 5}
    verdicts: list[dict[str, Any]] = [
        {"resolution": "buyer_favor"}, {"resolution": "seller_favor"}, {"resolution": "split", "seller_share": "0.5"},
        {"resolution": "partial_refund", "refund_amount": 100},
    ]  # fmt: skip
    asked: list[Asked] = [(tenant.operator, f"{path}/resolve", one | {"details": "Heard."}, {}) for one in verdicts * 2]
    assert codes(ring.fire(*asked)) == {ACCEPTED: 1, "invalid_transition": 7}
    settlements = tenant.platform.get(f"/v1/escrows/{escrow['id']}/settlements")["data"]
    assert [one["total"] for one in settlements] == [800]


ROUNDS: Final[tuple[Callable[[Ring], None], ...]] = (
    of_one_version_one_wins, a_milestone_is_decided_once, a_wallet_pays_what_it_has, a_key_stands_for_one_body,
    a_card_is_charged_once, a_dispute_has_one_verdict,
)  # fmt: skip


@contextmanager
def ring(servers: Servers, log: Path, seed: int) -> Iterator[Ring]:
    """Two APIs and two pairs of workers. When it is left: no deadlock, whole audit, even trial balance, no 5xx."""
    with ExitStack() as stack:
        engine = stack.enter_context(without_deadlocks(servers))
        for _ in range(2):
            stack.enter_context(Workers(servers))
        apis: list[Api] = [stack.enter_context(running_api(servers, log, **_UNLIMITED)) for _ in range(2)]
        doors = tuple(
            stack.enter_context(httpx.Client(base_url=one.address, timeout=60, trust_env=False)) for one in apis
        )
        tenant, crowd = apis[0].tenant().ready(), Crowd()
        stack.callback(crowd.close)
        yield Ring(tenant, doors, engine, crowd, Random(seed), Counter())  # noqa: S311 - the same requests every time
        trial_balance_is_even(engine, tenant.id)
        assert not (found := verify(engine, tenant.id).findings), found
        assert "request failed" not in log.read_text()
