"""What a marketplace does all day over HTTP: deals of every kind, some at odds with themselves, and its back office.

Each deal is one client's story from agreement to end, as chance has it. ``PLAIN`` deals alone are what the benchmark
measures.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx

from chaos.callers import Caller
from models import ids

AMOUNT: Final = 60_000
_PARTS: Final = (10_000, 20_000, 30_000)
_GOOD, _BAD = "pm_card_visa", "pm_card_chargeDeclined"
_LATE: Final = {"reason": "late", "description": "It is late."}
_NOT_YET: Final = {"reason": "not yet"}
_WAYS_OUT: Final[tuple[dict[str, Any], ...]] = (
    {"resolution": "split", "seller_share": "0.7"},
    {"resolution": "partial_refund", "refund_amount": 33_333},
    {"resolution": "buyer_favor"},
    {"resolution": "seller_favor"},
    {"resolution": "mediation"},
)
_OPERATOR: Final = "operator:olga"

Deal = Callable[["Parties"], Awaitable[None]]


class Parties:
    """A buyer and a seller, and what each of them asks of an escrow. Commands answer the escrow, or None."""

    def __init__(self, caller: Caller, buyer: str, seller: str) -> None:
        self.caller, self.chance = caller, caller.chance
        self.buyer, self.seller = f"buyer:{buyer}", f"seller:{seller}"
        self.escrow: dict[str, Any] = {}
        self.path = ""
        self.sure = False  # whether what is done in its turn can only succeed

    @property
    def milestones(self) -> list[str]:
        """The ids of the milestones, in their order."""
        return [one["id"] for one in self.escrow["milestones"]]

    async def agree(self, **terms: Any) -> bool:
        """Make the escrow; answers whether there is one."""
        parts = [{"title": f"Part {number}", "amount": part} for number, part in enumerate(_PARTS, 1)]
        names = {"buyer": self.buyer.partition(":")[2], "seller": self.seller.partition(":")[2]}
        agreement = names | {"amount": AMOUNT, "currency": "EUR", "title": "A day's deal", "milestones": parts} | terms
        made = await self.caller.ask(None, "create", "/v1/escrows", agreement)
        if made is None or not made.is_success:
            return False
        self.escrow = made.json()
        self.path = f"/v1/escrows/{self.escrow['id']}"
        return True

    async def do(self, actor: str, what: str, body: Any = None, reaches: str = "command") -> httpx.Response | None:
        """A command about the escrow."""
        return await self.caller.ask(actor, what, f"{self.path}/{what}", body, reaches=reaches, surely=self.sure)

    async def of(self, milestone: str, actor: str, what: str, body: Any = None) -> httpx.Response | None:
        """A command about a milestone."""
        return await self.caller.ask(actor, what, f"/v1/milestones/{milestone}/{what}", body, surely=self.sure)

    async def by_wallet(self) -> None:
        """Fund from the wallet, and begin."""
        await self.do(self.buyer, "fund", {"source": "wallet"})
        await self.do(self.seller, "start")

    async def by_card(self) -> None:
        """Fund by a card, sometimes after one that is declined, and begin."""
        for method in (_BAD, _GOOD) if self.chance.random() < 0.3 else (_GOOD,):
            await self.do(self.buyer, "fund", {"source": "gateway", "payment_method": method}, reaches="money")
        await self.do(self.seller, "start")

    async def submit(self, milestone: str) -> None:
        """The seller has done it."""
        await self.of(milestone, self.seller, "submit", {"evidence": []})

    async def deliver(self, milestones: list[str]) -> None:
        """Submitted and approved, one after the other."""
        for milestone in milestones:
            await self.submit(milestone)
            await self.of(milestone, self.buyer, "approve")

    async def disputed(self) -> str | None:
        """The buyer raises a dispute and an operator takes it; answers its id."""
        raised = await self.do(self.buyer, "disputes", _LATE)
        if raised is None or not raised.is_success:
            return None
        dispute = str(raised.json()["id"])
        await self.caller.ask(_OPERATOR, "review", f"/v1/disputes/{dispute}/review", surely=self.sure)
        return dispute

    async def judge(self, dispute: str, how: dict[str, Any]) -> None:
        """The operator decides."""
        path = f"/v1/disputes/{dispute}/resolve"
        await self.caller.ask(_OPERATOR, "resolve", path, {"details": "Heard both."} | how, surely=self.sure)


async def plain(parties: Parties) -> None:
    """Three milestones, of which some are fought over, sent back or given up."""
    if await parties.agree():
        await parties.by_wallet()
        for milestone in parties.milestones:
            await parties.submit(milestone)
            if not await _reviewed(parties, milestone):
                return


async def _reviewed(parties: Parties, milestone: str) -> bool:
    """A review of one milestone; answers whether the deal goes on."""
    lot = parties.chance.random()
    if lot < 0.80:
        if lot > 0.70:
            await parties.of(milestone, parties.buyer, "reject", _NOT_YET)
            await parties.submit(milestone)
        await parties.of(milestone, parties.buyer, "approve")
        return True
    if lot < 0.90:  # at odds: whichever commits first
        parties.caller.seen.at_odds += 1
        await asyncio.gather(
            parties.of(milestone, parties.buyer, "approve"),
            parties.do(parties.buyer, "disputes", _LATE),
            parties.of(milestone, parties.buyer, "reject", _NOT_YET),
        )
    await parties.do(parties.seller, "cancel")
    return False


async def by_card(parties: Parties) -> None:
    """Paid by card, delivered, then looked at."""
    if await parties.agree():
        await parties.by_card()
        await parties.deliver(parties.milestones)
        await parties.caller.read(parties.path)


async def judged(parties: Parties) -> None:
    """Half done, then disputed, and an operator decides."""
    if await parties.agree():
        await parties.by_wallet()
        await parties.deliver(parties.milestones[:1])
        await parties.submit(parties.milestones[1])
        dispute = await parties.disputed()
        how = parties.chance.choice(_WAYS_OUT)
        if dispute:
            await parties.judge(dispute, how)
            if how["resolution"] == "mediation":
                await parties.deliver(parties.milestones[1:])


async def called_off(parties: Parties) -> None:
    """Paid by card and given back to the wallet before work begins, by two who do not know of one another."""
    if await parties.agree():
        await parties.do(parties.buyer, "fund", {"source": "gateway", "payment_method": _GOOD}, reaches="money")
        parties.caller.seen.at_odds += 1
        await asyncio.gather(parties.do(_OPERATOR, "refund"), parties.do(parties.seller, "cancel"))


async def taken_back(parties: Parties) -> None:
    """Delivered, paid out, and a part of it taken back afterwards, twice at once."""
    if await parties.agree():
        await parties.by_wallet()
        await parties.deliver(parties.milestones)
        back = {"amount": 6_667, "reason": "it broke"}
        await asyncio.gather(*(parties.of(parties.milestones[1], _OPERATOR, "reverse", back) for _ in range(2)))


async def completed(parties: Parties) -> None:
    """One amount without milestones, released on completion; the buyer pays some money in meanwhile."""
    if await parties.agree(milestones=[]):
        await asyncio.gather(parties.by_card(), top_up(parties))
        await parties.do(parties.buyer, "complete")


async def top_up(parties: Parties) -> None:
    """Money for the buyer's wallet, by a card that is declined now and then."""
    method = _BAD if parties.chance.random() < 0.3 else _GOOD
    body = {"amount": 12_345, "currency": "EUR", "payment_method": method}
    wallet = f"/v1/wallets/{parties.buyer.partition(':')[2]}"
    await parties.caller.ask(None, "topups", f"{wallet}/topups", body, reaches="money")
    await parties.caller.read(wallet)


async def contested(parties: Parties, sandbox: str) -> None:
    """Paid by card, half delivered, and the buyer's bank contests all of it. It decides when the day is over."""
    if await parties.agree():
        funded = await parties.do(
            parties.buyer, "fund", {"source": "gateway", "payment_method": _GOOD}, reaches="money"
        )
        await parties.do(parties.seller, "start")
        await parties.deliver(parties.milestones[:1])
        if funded is not None and funded.is_success:
            key = parties.caller.key_of(funded)
            charge = ids.derive("chg", ids.made_at(parties.escrow["id"]), parties.escrow["id"], key)
            await parties.caller.tell(f"{sandbox}/sandbox/happenings/contest", {"key": charge})


IN_TURN: Final = frozenset({by_card, judged, taken_back, completed})
"""Deals in which everyone waits for the other, so that nothing is refused unless a clock moves meanwhile."""
PLAIN: Final[tuple[Deal, ...]] = (plain,)
MIXED: Final[tuple[Deal, ...]] = (plain, plain, plain, by_card, by_card, judged, called_off, taken_back, completed)


async def silence(parties: Parties) -> None:
    """Submitted and never reviewed: the tenant's test clock goes on by three weeks, and it is released by itself."""
    if await parties.agree():
        await parties.by_wallet()
        for milestone in parties.milestones[:2]:
            await parties.submit(milestone)
        await parties.caller.ask(None, "advance", "/v1/test-clock/advance", {"by": "P21D"})
        await parties.deliver(parties.milestones[2:])


async def back_office(caller: Caller, rounds: "itertools.count[int]") -> None:
    """One look at the payouts that did not arrive: their sellers get another account, and they are sent again."""
    for status in ("returned", "failed"):
        found = await caller.read(f"/v1/payouts?status={status}&limit=20")
        for payout in (found or {"data": []})["data"]:
            party, account = payout["party"], f"acct_{payout['party']}n{next(rounds)}"
            caller.seen.name(caller.tenant, party, account)
            change = {"payout_destination": account}
            await caller.ask(None, "put_party", f"/v1/parties/{party}", change, "PUT", "read")
            await caller.ask(_OPERATOR, "retry", f"/v1/payouts/{payout['id']}/retry")
