"""Webhook endpoints: who may have which, whose turn it is, secrets, redelivery, and who sees them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text
from standardwebhooks import WebhookVerificationError

from ledger import webhooks
from ledger.posting import CALLS_OF_A_TENANT, CALLS_THAT_MAY_HANG
from ledger.webhooks import MOST_ENDPOINTS
from models.errors import ErrorCode, RefusedError
from models.states import State
from tests.database.webhook_towns import (
    Town,
    claims,
    code,
    endpoint,
    knocking,
    number,
    post_all,
    postman,
    queue,
    register,
)
from tests.market import KEYS
from tests.receiver import Receiver
from tests.servers import Servers, eventually
from tests.telling import run


def test_after_a_rotation_both_secrets_sign_until_the_overlap_is_over(town: Town, receiver: Receiver) -> None:
    """A receiver may change its secret whenever it likes within the day; the same request twice rotates once."""
    made = register(town, receiver.url)
    rotate = webhooks.rotate_secret
    new = rotate(town.api, KEYS, town.tenant, made.endpoint.id, request="r1")
    assert rotate(town.api, KEYS, town.tenant, made.endpoint.id, request="r1").secret == new.secret != made.secret
    town.create()
    post_all(town)
    both = receiver.arrived[-1]
    assert both.verified(made.secret) == both.verified(new.secret)
    assert len(both.headers["webhook-signature"].split(" ")) == 2
    run(town.engine, "UPDATE webhook_endpoint SET called_at = NULL WHERE id = :id", id=made.endpoint.id)
    newest = rotate(town.api, KEYS, town.tenant, made.endpoint.id, timedelta(0))
    town.create()
    post_all(town)
    assert receiver.arrived[-1].verified(newest.secret)
    for old in (made, new):
        with pytest.raises(WebhookVerificationError):
            receiver.arrived[-1].verified(old.secret)
    with pytest.raises(RefusedError):
        rotate(town.api, KEYS, town.tenant, made.endpoint.id, timedelta(days=8))


def test_an_event_is_redelivered_to_whom_it_concerns_or_to_the_one_named(
    town: Town, towns: Callable[[], Town], receiver: Receiver
) -> None:
    """Under the same id; asked for twice while it waits it comes once; what has no number yet is refused."""
    all_, some = register(town, f"{receiver.url}/all"), register(town, f"{receiver.url}/some", "payout.*")
    town.create()
    fresh = town.scalar("SELECT event_id FROM unnumbered_event WHERE tenant_id = :tenant")
    with pytest.raises(RefusedError) as early:
        webhooks.redeliver(town.api, town.tenant, fresh)
    assert code(early) == ErrorCode.CONFLICT
    post_all(town)
    again = webhooks.redeliver(town.api, town.tenant, fresh)
    assert [one.id for one in webhooks.redeliver(town.api, town.tenant, fresh)] == [one.id for one in again]
    assert [(one.endpoint, one.event) for one in again] == [(all_.endpoint.id, fresh)]
    webhooks.redeliver(town.api, town.tenant, fresh, some.endpoint.id)
    post_all(town)
    assert [one.headers["webhook-id"] for one in receiver.arrived] == [fresh] * 3
    assert len(receiver.at("/some")) == 1
    stranger = towns()
    for who, event in ((stranger, fresh), (town, "evt_x")):
        with pytest.raises(RefusedError) as refused:
            webhooks.redeliver(who.api, who.tenant, event)
        assert code(refused) == ErrorCode.NOT_FOUND


def test_one_endpoint_has_one_call_and_one_tenant_two(town: Town, towns: Callable[[], Town]) -> None:
    """However much waits for them; another tenant's endpoint has its turn."""
    for name in "abc":
        register(town, f"https://{name}.example")
    other = towns()
    register(other, "https://other.example")
    for market in (town, other):
        market.at(State.MILESTONE_APPROVED)
    number(town)
    leased = claims(town)
    assert len({one.endpoint for one in leased}) == len(leased) == CALLS_OF_A_TENANT + 1
    assert [one.event.tenant for one in leased].count(other.tenant) == 1


def test_endpoints_that_fail_never_take_every_lane(town: Town, towns: Callable[[], Town]) -> None:
    """Half of the lanes at most wait for endpoints that failed before; a healthy one is called in between."""
    markets = [towns() for _ in range(CALLS_THAT_MAY_HANG + 2)]
    failing = [register(market, "https://dead.example") for market in markets]
    for market in markets:
        market.create()
    for made in failing:
        run(
            town.engine,
            "UPDATE webhook_endpoint SET failures = 9, failing_since = now() WHERE id = :id",
            id=made.endpoint.id,
        )
    register(town, "https://alive.example")
    town.create()
    number(town)
    leased = claims(town)
    assert len(leased) == CALLS_THAT_MAY_HANG + 1
    assert town.tenant in {one.event.tenant for one in leased}


def test_endpoints_take_turns_however_long_the_queue_of_one_is(
    town: Town, towns: Callable[[], Town], receiver: Receiver
) -> None:
    """A tenant with many events waiting does not come before one with a single event."""
    other = towns()
    register(town, f"{receiver.url}/long")
    for _ in range(10):
        town.create()
    register(other, f"{receiver.url}/short")
    other.create()
    number(town)
    for _ in range(2):
        postman(town).post_next()
    assert [one.path for one in receiver.arrived].count("/short") == 1


def test_a_tenant_has_at_most_sixteen_endpoints_also_when_asked_for_at_once(town: Town) -> None:
    """Of many requests at once exactly sixteen succeed; the refusal says what is allowed."""

    def one(number: int) -> str | None:
        try:
            register(town, f"https://{number}.example")
        except RefusedError as error:
            return error.refusal.message
        return None

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(MOST_ENDPOINTS + 4)))
    assert answers.count(None) == MOST_ENDPOINTS == len(webhooks.endpoints(town.api, town.tenant))
    assert any(answer and "at most 16" in answer for answer in answers)
    made = webhooks.endpoints(town.api, town.tenant)[0]
    found = webhooks.create_endpoint(town.api, KEYS, town.tenant, made.url, ["*"], identifier=made.id)
    assert found.endpoint == made
    webhooks.delete_endpoint(town.api, town.tenant, made.id)
    with pytest.raises(RefusedError) as refused:
        webhooks.endpoint(town.api, town.tenant, made.id)
    assert code(refused) == ErrorCode.NOT_FOUND


def test_a_deleted_endpoint_gets_nothing_more(town: Town, receiver: Receiver) -> None:
    """Its deliveries go with it, and what waited is not posted."""
    made = register(town, receiver.url)
    town.create()
    number(town)
    webhooks.delete_endpoint(town.api, town.tenant, made.endpoint.id)
    post_all(town)
    assert receiver.arrived == []


def test_a_secret_is_stored_encrypted_for_its_endpoint_alone(town: Town) -> None:
    """Nothing of it is in the row in the clear, and one endpoint's secret does not open as another's."""
    made = register(town, "https://hooks.example")
    kept = bytes(town.scalar("SELECT secret FROM webhook_endpoint WHERE id = :id", id=made.endpoint.id))
    assert made.secret.encode() not in kept
    assert KEYS.decrypt("webhook", kept, made.endpoint.id).decode() == made.secret
    with pytest.raises(ValueError, match="encrypted for something else"):
        KEYS.decrypt("webhook", kept, "whk_other")
    assert made.secret not in repr(made)


@pytest.mark.parametrize("types", [[], ["payout.payed"], ["*.paid"], ["Payout.*"], ["escrow.*"] * 51, ["unknown.*"]])
def test_types_that_there_are_not_are_refused_with_those_that_there_are(town: Town, types: list[str]) -> None:
    """A slip of the pen would otherwise be found when the event does not come."""
    with pytest.raises(RefusedError, match=r"\*") as refused:
        webhooks.create_endpoint(town.api, KEYS, town.tenant, "https://hooks.example", types)
    assert code(refused) == ErrorCode.INVALID_COMMAND


def test_the_api_sees_its_tenants_webhooks_only_and_cannot_forge_what_was_posted(servers: Servers, town: Town) -> None:
    """Row-level security holds for each table; the API's role may not write a number, a success or a lease."""
    made = register(town, "https://hooks.example")
    town.create()
    number(town)
    with knocking(servers) as connection:
        for table in ("webhook_endpoint", "webhook_delivery", "numbered_event"):
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)
        connection.execute("SELECT set_config('holdfast.tenant', %s, true)", (town.tenant,))
        for table in ("webhook_endpoint", "webhook_delivery", "numbered_event"):
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (1,)
        connection.execute("SELECT set_config('holdfast.tenant', 'ten_other', true)")
        changed = connection.execute("UPDATE webhook_endpoint SET url = 'x' WHERE id = %s", (made.endpoint.id,))
        assert changed.rowcount == 0
    for statement in (
        "UPDATE webhook_delivery SET status = 'delivered'",
        "UPDATE webhook_endpoint SET leased_until = now()",
        "INSERT INTO numbered_event VALUES ('t', 1, 'e', 'x')",
        "SELECT * FROM unnumbered_event",
    ):
        with knocking(servers) as connection, pytest.raises(Exception, match="permission denied"):
            connection.execute(statement.encode())


def test_an_event_of_no_escrow_is_told_to_the_operator_and_holds_up_nothing(town: Town, receiver: Receiver) -> None:
    """A disabled endpoint goes through the outbox as well; two such events do not wait for each other."""
    from tests.post_office import post_office
    from tests.telling import courier, drain, told

    drain(courier(town))
    first, second = register(town, f"{receiver.url}/1", "escrow.*"), register(town, f"{receiver.url}/2", "escrow.*")
    receiver.answer = (410, {}, b"")
    town.create()
    post_all(town)
    assert {endpoint(town, one).status for one in (first, second)} == {"disabled"}
    with post_office() as office:
        drain(courier(town, office.channel()))
        assert told(office, town, "ops") == ["webhook_endpoint.disabled"] * 2


def test_the_next_delivery_is_found_by_an_index_however_long_the_queue_is(servers: Servers, town: Town) -> None:
    """With thousands of deliveries waiting, claiming reads a few."""
    made = register(town, "https://hooks.example")
    town.create()
    number(town)
    fill = """INSERT INTO webhook_delivery (id, tenant_id, endpoint_id, event_id, sequence, next_attempt_at)
              SELECT 'whd_' || n, tenant_id, endpoint_id, event_id, n, now() + interval '1 hour'
              FROM webhook_delivery, generate_series(1, 5000) AS n WHERE endpoint_id = :id"""
    with town.engine.begin() as connection:
        connection.execute(text(fill), {"id": made.endpoint.id})
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'webhook_delivery'"
    superuser = servers.superuser()
    superuser.execute("ANALYZE webhook_delivery")

    def counted() -> int:
        superuser.execute("SELECT pg_stat_clear_snapshot()")
        return int((superuser.execute(read.encode()).fetchone() or (0,))[0])

    town.engine.dispose()
    before = eventually(counted)
    assert queue(town).claim() is not None
    town.engine.dispose()  # statistics are told when a connection ends
    assert eventually(lambda: counted() > before and counted()) - before < 200
    superuser.close()
