"""The provider's own books as we read them: every movement with its kind, our name of it and our key."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from activities.gateways.port import GatewayMisconfiguredError, GatewayUnavailableError, Succeeded
from activities.gateways.stripe import StripeGateway
from models.reconciliation import ProviderLine
from tests.gateway.sandbox_process import SandboxProcess


def charge(gateway: StripeGateway, key: str, amount: int = 1000, currency: str = "EUR") -> None:
    """Take money from a card."""
    said = gateway.charge(
        key=key, party="alice", payment_method="pm_card_visa", amount=amount, currency=currency, metadata={}
    )
    assert isinstance(said, Succeeded)


def transfer(gateway: StripeGateway, key: str, amount: int = 400) -> str:
    """Send money; answers the transfer's id."""
    said = gateway.transfer(key=key, destination="acct_bob", amount=amount, currency="EUR", metadata={})
    assert isinstance(said, Succeeded)
    return said.reference


def of(gateway: StripeGateway, *keys: str) -> list[tuple[str, str, int, str | None, str | None]]:
    """The lines of these keys, oldest first: type, kind, amount, subject, key."""
    return [
        (one.type, one.kind, one.amount, one.subject, one.key) for one in reversed(whole(gateway)) if one.key in keys
    ]


def whole(gateway: StripeGateway, since: datetime | None = None) -> list[ProviderLine]:
    """All lines, over all pages."""
    statement, lines, after = gateway.statement(), list[ProviderLine](), None
    while True:
        page = statement.lines(since, after)
        lines += page.lines
        if (after := page.after) is None:
            return lines


def test_each_movement_is_named_as_our_books_name_it(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str, new_key: Callable[[], str]
) -> None:
    """Charges and payouts by our keys, contested payments by the provider's reference, with the key of their charge."""
    charge(gateway, key)
    dispute = sandbox.happen("contest", key=key, amount=300)
    sandbox.happen("decide", reference=dispute["id"], status="won")
    payout = new_key()
    transfer(gateway, payout)
    sandbox.happen("reverse", key=payout, amount=100)
    failed = new_key()
    charge(gateway, failed)
    late = sandbox.happen("fail", key=failed)
    assert of(gateway, key, payout, failed) == [
        ("charge", "charge", 1000, key, key),
        ("adjustment", "contested", -300, dispute["id"], key),
        ("adjustment", "contested", 300, dispute["id"], key),
        ("transfer", "payout", -400, payout, payout),
        ("transfer_refund", "payout_return", 100, payout, payout),
        ("charge", "charge", 1000, failed, failed),
        ("payment_failure_refund", "contested", -1000, late["id"], failed),
    ]


def test_what_is_none_of_ours_has_no_subject(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """A charge by somebody else's program on the same account, and a refund."""
    charge(gateway, key)
    (ours,) = sandbox.list("charges", transfer_group=key)
    form = {"amount": "77", "currency": "eur", "payment_method": "pm_card_visa", "confirm": "true"}
    theirs = sandbox.post("/v1/payment_intents", form).json()["latest_charge"]
    refund = sandbox.post("/v1/refunds", {"payment_intent": ours["payment_intent"], "amount": "5"}).json()["id"]
    lines = {one.source: (one.kind, one.amount, one.subject) for one in whole(gateway)}
    assert (lines[theirs], lines[refund]) == (("charge", 77, None), ("other", -5, None))


def test_amounts_are_in_our_minor_units(gateway: StripeGateway, new_key: Callable[[], str]) -> None:
    """Yen have no decimals with either; of Iceland's krónur Stripe counts hundredths, of Madagascar's ariary none."""
    before = gateway.statement().balances()
    for amount, currency in ((500, "JPY"), (600, "ISK"), (700, "MGA")):
        charge(gateway, new_key(), amount, currency)
    after = gateway.statement().balances()
    moved = {currency: after[currency] - before.get(currency, 0) for currency in ("JPY", "ISK", "MGA")}
    assert moved == {"JPY": 500, "ISK": 600, "MGA": 700}
    newest = [(one.amount, one.currency) for one in whole(gateway)[:3]]
    assert newest == [(700, "MGA"), (600, "ISK"), (500, "JPY")]


def test_pages_follow_each_other_and_end_at_the_moment_that_is_asked_for(
    gateway: StripeGateway, sandbox: SandboxProcess, new_key: Callable[[], str]
) -> None:
    """More than one page of a hundred; none twice, none left out, and their sum is the balance."""
    key = new_key()
    charge(gateway, key, 20000)
    for _ in range(101):
        sandbox.happen("contest", key=key, amount=1)
    lines = whole(gateway)
    assert len({one.id for one in lines}) == len(lines) > 102
    assert sum(one.amount - one.fee for one in lines if one.currency == "EUR") == gateway.statement().balances()["EUR"]
    assert whole(gateway, datetime.now(UTC) - timedelta(days=1)) == lines
    assert whole(gateway, datetime.now(UTC) + timedelta(days=1)) == []
    assert {one.created_at.date() for one in lines[:1]} == {datetime.now(UTC).date()}


def test_the_sandbox_lists_what_was_created_between_two_seconds(
    gateway: StripeGateway, sandbox: SandboxProcess, key: str
) -> None:
    """Both are part of it, as at Stripe; anything else it says clearly."""
    charge(gateway, key)
    path = "/v1/balance_transactions"
    (newest,) = sandbox.get(path, limit="1").json()["data"]
    at = newest["created"]
    within = sandbox.get(path, **{"created[gte]": str(at), "created[lte]": str(at)}).json()["data"]
    assert newest in within
    assert {one["created"] for one in within} == {at}
    assert sandbox.get(path, **{"created[lte]": "1"}).json() == {
        "object": "list", "data": [], "has_more": False, "url": path
    }  # fmt: skip
    assert sandbox.get(path, **{"created[after]": "1"}).status_code == 400
    assert sandbox.get(path, **{"expand[]": "data.fee"}).status_code == 400


def test_a_question_that_is_not_answered_says_nothing(gateway: StripeGateway, sandbox: SandboxProcess) -> None:
    """Errors of the provider's: ask again. Errors of ours: mend them. And no proxy's page is a statement."""
    statement = gateway.statement()
    for fault in ({"fault": "error_before"}, {"fault": "answer", "status": 200, "body": {"object": "page"}}):
        for ask in (lambda: statement.lines(None), statement.balances):
            sandbox.fault("look_up", **fault)
            with pytest.raises(GatewayUnavailableError):
                ask()
    with pytest.raises(GatewayMisconfiguredError):
        sandbox.gateway(api_key="sk_test_other").statement().lines(None)


def test_what_stripe_says_and_the_sandbox_does_not(gateway: StripeGateway, sandbox: SandboxProcess, key: str) -> None:
    """A reversal's source is itself, and the transfer has the key; fees, pending money, and other adjustments."""
    reference = transfer(gateway, key)
    lines = answered(
        sandbox,
        [
            line("transfer_refund", {"object": "transfer_reversal", "id": "trr_1", "transfer": reference}, amount=400),
            line("charge", {"object": "charge", "id": "ch_1", "metadata": {"holdfast_key": "chg_1"}}, fee=59),
            line("adjustment", None),
            line("stripe_fee", None, amount=-20),
            line("payout", {"object": "payout", "id": "po_1", "metadata": {}}, amount=-900),
        ],
    )
    assert [(one.kind, one.source, one.subject, one.amount, one.fee) for one in lines] == [
        ("payout_return", reference, key, 400, 0),
        ("charge", "ch_1", "chg_1", 1000, 59),
        ("other", None, None, 1000, 0),
        ("other", None, None, -20, 0),
        ("other", "po_1", None, -900, 0),
    ]


def test_a_strange_line_keeps_no_other_from_being_read(gateway: StripeGateway, sandbox: SandboxProcess) -> None:
    """A currency that is none of ours, a part of a minor unit, names that are too long, and things that are gone."""
    gone = {"object": "transfer_reversal", "id": "trr_1", "transfer": "tr_gone"}
    contested = {"object": "dispute", "id": "du_1"}
    charges = [
        {"object": "charge", "id": f"ch_{place}", "metadata": {"holdfast_key": key}}
        for place, key in enumerate(("chg_1", "chg_\x00", "c" * 201))
    ]
    lines = answered(
        sandbox,
        [
            line("charge", charges[0], currency="usdc"),
            line("charge", charges[0], currency="lyd"),
            line("charge", charges[0], currency="isk", amount=500, fee=17),
            line("charge", charges[1]),
            line("charge", charges[2]),
            line("transfer_refund", gone),
            line("adjustment", contested),
            line("payment_failure_refund", {"object": "refund", "id": "re_1", "charge": None}),
        ],
    )
    assert [(one.kind, one.source, one.subject, one.amount, one.fee, one.currency) for one in lines] == [
        ("charge", "ch_0", "chg_1", 1000, 0, "usdc"),
        ("charge", "ch_0", "chg_1", 1000, 0, "lyd"),
        ("charge", "ch_0", "chg_1", 5, 0, "ISK"),
        ("charge", "ch_1", None, 1000, 0, "EUR"),
        ("charge", "ch_2", None, 1000, 0, "EUR"),
        ("payout_return", "trr_1", None, 1000, 0, "EUR"),
        ("contested", "du_1", "du_1", 1000, 0, "EUR"),
        ("contested", "re_1", None, 1000, 0, "EUR"),
    ]
    held = [{"currency": "usdc", "amount": 7}, {"currency": "isk", "amount": 150}, {"currency": "isk", "amount": 50}]
    body = {"object": "balance", "available": held, "pending": [{"currency": "eur", "amount": 5}]}
    sandbox.fault("look_up", "answer", status=200, body=body)
    assert gateway.statement().balances() == {"usdc": 7, "ISK": 2, "EUR": 5}
    with pytest.raises(GatewayUnavailableError, match=r"line txn_charge cannot be read \(ValueError\)"):
        answered(sandbox, [line("charge", None, amount=10**19)])


def test_a_payout_says_whose_account_it_went_to(gateway: StripeGateway, key: str) -> None:
    """The transfer's destination, and nobody's for what is no payout."""
    charge(gateway, key)
    transfer(gateway, f"{key}:1")
    assert [one.destination for one in whole(gateway)[:2]] == ["acct_bob", None]


def line(kind: str, source: object, amount: int = 1000, fee: int = 0, currency: str = "eur") -> dict[str, object]:
    """A balance transaction as docs.stripe.com/api/balance_transactions/object has it."""
    return {
        "id": f"txn_{kind}", "object": "balance_transaction", "amount": amount, "created": 1750000000,
        "currency": currency, "fee": fee, "net": amount - fee, "source": source, "status": "pending", "type": kind,
    }  # fmt: skip


def answered(sandbox: SandboxProcess, data: list[dict[str, object]]) -> tuple[ProviderLine, ...]:
    """What the adapter makes of an answer that the sandbox would not give by itself."""
    body = {"object": "list", "data": data, "has_more": False, "url": "/v1/balance_transactions"}
    sandbox.fault("look_up", "answer", status=200, body=body)
    return sandbox.gateway().statement().lines(None).lines
