"""Who parties are: encrypted in one table, erasable, for one tenant's eyes; the books do not notice."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from activities.channels.console import ConsoleChannel
from activities.notifications import Courier
from ledger import parties, personal, tenants
from ledger.answers import Answer, Answers
from ledger.audit import verify
from ledger.engine import connect, for_tenant
from ledger.keyring import Keyring
from ledger.migrate import upgrade
from ledger.migrations.script import KeysNeededError
from ledger.outbox import Outbox
from ledger.personal import UnreadableError, reencrypt
from models.commands import RecordPayout, SendPayout
from models.screening import ScreenParty
from models.states import PayoutStatus, State
from tests.market import KEYS, Market
from tests.post_office import PostOffice, post_office
from tests.servers import Servers, one
from tests.telling import address, courier, drain, head, know, known, make_due, run, told, towns, waiting

ANNA = {"name": "Anna Überall", "email": "anna@example.com", "language": "th"}
NEWER = Keyring({"newer": bytes(32)} | KEYS.keys)
ONLY_NEWER = Keyring({"newer": bytes(32)})
# Where a name could be left behind: these are looked at as they are on the disk.
KEPT_IN = ("personal_data", "party")
OLD_PARTIES = """
INSERT INTO tenant (id, name, mode, reporting_currency) VALUES ('ten_1', 'Old', 'test', 'EUR');
INSERT INTO party (tenant_id, id, name, email, language, kyc_status) VALUES
    ('ten_1', 'anna', 'Anna Überall', 'anna@example.com', 'th', 'verified'),
    ('ten_1', 'ben', 'Ben', NULL, NULL, 'none'),
    ('ten_1', 'cat', NULL, NULL, NULL, 'none');
INSERT INTO party (tenant_id, id, name) SELECT 'ten_1', 'p' || n, 'Person ' || n FROM generate_series(1, 2500) AS n;
"""


@pytest.fixture
def office() -> Iterator[PostOffice]:
    """A post office of the test's own."""
    with post_office() as open_office:
        yield open_office


@pytest.fixture
def town(market: Market) -> Iterator[Market]:
    """A market whose parties have addresses, and nothing left to tell."""
    with towns(market) as town:
        yield town


@pytest.fixture
def api(servers: Servers, market: Market) -> Iterator[Engine]:
    """The market's tenant as the HTTP API sees it."""
    engine = connect(servers.endpoints.api_database_url, 4)
    yield for_tenant(engine, market.tenant)
    engine.dispose()


@pytest.fixture
def older(servers: Servers) -> Iterator[str]:
    """The owner's URL of a database of the release before, with parties whose names can be read."""
    with closing(servers.superuser("postgres")) as connection:
        connection.execute("CREATE DATABASE older OWNER holdfast_owner")
        url = make_url(servers.endpoints.migration_url).set(database="older").render_as_string(hide_password=False)
        upgrade(url, to="0008")
        run_as_owner(url, OLD_PARTIES)
        yield url
        connection.execute("DROP DATABASE older WITH (FORCE)")


def run_as_owner(url: str, script: str) -> None:
    """A script in a transaction of its own."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(script)
    engine.dispose()


def row(market: Market, party: str) -> bytes | None:
    """What is kept of a party, as it is kept."""
    data: bytes | None = market.scalar(
        "SELECT data FROM personal_data WHERE tenant_id = :tenant AND party = :party", party=party
    )
    return data


def read(keys: Keyring, engine: Engine, tenant: str, party: str) -> tuple[str | None, str | None, str | None]:
    """Name, address and language."""
    found = parties.party(engine, keys, tenant, party)
    assert found is not None
    return found.name, found.email, found.language


def test_nothing_personal_can_be_read_in_any_table(servers: Servers, market: Market) -> None:
    """Not in the row, not in any other of the database, and not in the table's own file."""
    know(market, "anna", **ANNA)
    with servers.superuser() as connection:
        tables = connection.execute("SELECT relname FROM pg_stat_user_tables").fetchall()
        for (table,) in tables:
            assert one(connection, f"SELECT count(*) FROM {table} t WHERE t::text ~ 'anna@|Anna Über'") == 0, table
        connection.execute("CHECKPOINT")
        files = [one(connection, f"SELECT pg_read_binary_file(pg_relation_filepath('{name}'))") for name in KEPT_IN]
    assert not [words for words in ("Überall", "anna@example.com") for file in files if words.encode() in file]
    assert b"anna" in b"".join(files), "the file is the right one: the party's id can be read"


def test_what_is_given_later_is_added_to_what_is_known(market: Market) -> None:
    """Each part by itself; a part that is given again is replaced, and one that is not stays."""
    know(market, "anna", name="Anna Überall", payout_destination="acct_anna")
    know(market, "anna", email="anna@example.com")
    know(market, "anna", language="th", name="Anna Unten", kyc_status="verified")
    anna = known(market, "anna")
    assert (anna.name, anna.email, anna.language) == ("Anna Unten", "anna@example.com", "th")
    assert (anna.payout_destination, anna.kyc_status, anna.blocked) == ("acct_anna", "verified", False)
    assert "Anna" not in repr(anna)
    assert "anna@" not in repr(anna)


def test_parts_that_are_given_at_the_same_time_are_all_kept(market: Market) -> None:
    """Whoever comes second reads what the first wrote."""
    for number in range(20):
        party = f"anna{number}"
        know(market, party, payout_destination="acct_anna")
        with ThreadPoolExecutor(3) as pool:
            for name, value in ANNA.items():
                pool.submit(know, market, party, **{name: value})
        assert read(KEYS, market.engine, market.tenant, party) == tuple(ANNA.values())


def test_a_row_says_nothing_under_another_party(market: Market) -> None:
    """What is copied from one party to another is not taken for the other's, but found out."""
    know(market, "anna", **ANNA)
    know(market, "ben", name="Ben")
    run(
        market.engine,
        """UPDATE personal_data b SET data = a.data FROM personal_data a
           WHERE a.tenant_id = :tenant AND b.tenant_id = :tenant AND a.party = 'anna' AND b.party = 'ben'""",
        tenant=market.tenant,
    )
    with pytest.raises(UnreadableError, match="who party ben is cannot be read: it was encrypted for something else"):
        known(market, "ben")
    with pytest.raises(UnreadableError):
        know(market, "ben", email="ben@example.com", payout_destination="acct_ben")
    destination = "SELECT payout_destination FROM party WHERE tenant_id = :tenant AND id = 'ben'"
    assert market.scalar(destination) is None, "what is given is taken as a whole or not at all"
    tenants.erase_party(market.engine, KEYS, market.tenant, "ben")
    know(market, "ben", name="Ben")
    assert known(market, "ben").name == "Ben"


def test_edge_46_a_party_that_is_forgotten_leaves_no_row_and_no_answer_that_repeats_it(
    market: Market, api: Engine
) -> None:
    """Its row goes, and every answer to a request about it; those about others stay, and requests without an answer."""
    know(market, "anna", **ANNA)
    answers = Answers(api, market.tenant, KEYS)
    paths = {"a": "/v1/parties/anna", "b": "/v1/parties/anna/block", "c": "/v1/parties/anna2", "d": "/v1/parties/anna"}
    for key, path in paths.items():
        answers.claim(key, "print", path)
        if key != "d":
            answers.keep(key, Answer(200, {"etag": '"1"'}, b"Anna"))
    tenants.erase_party(api, KEYS, market.tenant, "anna")
    assert row(market, "anna") is None
    with api.connect() as connection:
        rows = connection.execute(text("SELECT key, status, memo FROM idempotency ORDER BY key")).all()
        assert [tuple(one) for one in rows] == [("a", 410, None), ("b", 410, None), ("c", 200, None), ("d", None, None)]
    for key in ("a", "b", "c"):
        found = answers.claim(key, "print", paths[key])
        assert isinstance(found, Answer)
        assert (b"Anna" in found.body, found.status) == ((key == "c"), 200 if key == "c" else 410)
    assert read(KEYS, market.engine, market.tenant, "anna") == (None, None, None)
    tenants.erase_party(market.engine, KEYS, market.tenant, "anna")
    tenants.erase_party(market.engine, KEYS, market.tenant, "nobody")
    assert parties.party(market.engine, KEYS, market.tenant, "nobody") is None


def test_edge_46_books_and_hashes_stay_whole_and_a_running_deal_is_paid_out(market: Market) -> None:
    """Money knows an opaque id, before and after."""
    know(market, "bob", name="Bob Baumeister", email="bob@example.com")
    escrow = market.at(State.MILESTONE_APPROVED)
    tenants.erase_party(market.engine, KEYS, market.tenant, "bob")
    assert verify(market.engine, market.tenant).whole
    escrow = market.do(RecordPayout, market.do(SendPayout, escrow), outcome="paid")
    assert escrow.payouts[0].status == PayoutStatus.PAID
    assert verify(market.engine, market.tenant).whole


def test_mail_goes_to_the_address_and_in_the_language_that_are_encrypted(town: Market, office: PostOffice) -> None:
    """Bob reads Thai until he is forgotten; then nobody writes to him, and alice is written to all the same."""
    town.create()
    drain(courier(town, office.channel()))
    (mail,) = office.to(address(town, "bob"))
    assert mail.message["Content-Language"] == "th"
    tenants.erase_party(town.engine, KEYS, town.tenant, "bob")
    town.create()
    drain(courier(town, office.channel()))
    assert len(office.to(address(town, "bob"))) == 1
    assert told(office, town, "alice") == ["escrow.created"] * 2


def test_news_whose_key_is_missing_wait_with_the_reason_and_hold_nobody_elses_back(
    town: Market, office: PostOffice
) -> None:
    """Bob is under a key that the worker lacks: his news wait for the key, and money waits for nothing."""
    with town.engine.begin() as connection:
        personal.forget(connection, KEYS, town.tenant, "bob")
    tenants.put_party(town.engine, town.tenant, "bob", keys=ONLY_NEWER, email=address(town, "bob"))
    know(town, "carol", email=address(town, "carol"))
    his, hers = town.create(), town.create(seller="carol")
    drain(courier(town, office.channel(), ConsoleChannel(io.StringIO())))
    assert (waiting(town, his), waiting(town, hers)) == (["escrow.created"], [])
    assert head(town, "last_error", his) == "who party bob is cannot be read: the keyring lacks the key 'newer'"
    assert town.do(SendPayout, town.at(State.MILESTONE_APPROVED)).payouts[0].status == PayoutStatus.IN_TRANSIT
    make_due(town)
    drain(Courier(Outbox(town.engine, NEWER), [office.channel()]))
    assert waiting(town, his) == []
    assert "escrow.created" in told(office, town, "bob")


def test_a_screening_reads_the_name_and_says_when_it_cannot(market: Market) -> None:
    """The provider gets what was written; without the key it is said whose name is missing, and nothing of it."""
    know(market, "anna", **ANNA, kyc_status="pending")
    anna = ScreenParty(tenant=market.tenant, party="anna")
    found = parties.subject(market.engine, KEYS, anna)
    assert (found.name, found.email, found.kyc_status) == ("Anna Überall", "anna@example.com", "pending")
    with pytest.raises(
        UnreadableError, match=r"^who party anna is cannot be read: the keyring lacks the key 'market'$"
    ):
        parties.subject(market.engine, ONLY_NEWER, anna)


def test_what_is_not_personal_needs_no_keys_and_what_is_does(market: Market) -> None:
    """Where money goes and whether papers are there can be said without any; a name cannot, and nothing is written."""
    tenants.put_party(market.engine, market.tenant, "anna", payout_destination="acct_anna", kyc_status="verified")
    with pytest.raises(ValueError, match="HOLDFAST_KEYS"):
        tenants.put_party(market.engine, market.tenant, "ben", "Ben", "acct_ben")
    assert parties.party(market.engine, KEYS, market.tenant, "ben") is None


def test_every_row_is_renewed_under_the_current_key_so_that_the_old_one_can_go(market: Market, api: Engine) -> None:
    """In batches of any size; afterwards the new key alone reads all, and renewing again finds nothing to do."""
    for number in range(7):
        know(market, f"anna{number}", **ANNA)
    tenants.put_party(market.engine, market.tenant, "anna7", keys=NEWER, **ANNA)
    assert reencrypt(api, NEWER, rows_at_once=3) == 7
    for number in range(8):
        assert read(ONLY_NEWER, market.engine, market.tenant, f"anna{number}") == tuple(ANNA.values())
    assert reencrypt(api, NEWER) == 0


def test_a_row_that_cannot_be_renewed_holds_no_other_up_and_is_told_of(market: Market, api: Engine) -> None:
    """All others are done first; the row stays for whoever finds its key."""
    for party in ("anna", "ben", "cat"):
        know(market, party, name=party)
    tenants.put_party(market.engine, market.tenant, "ben2", "Ben", keys=Keyring({"lost": bytes(32)}))
    with pytest.raises(UnreadableError, match=r"^not renewed: 1, .* party ben2 is cannot be read: .*'lost'"):
        reencrypt(api, NEWER, rows_at_once=2)
    names = [read(ONLY_NEWER, market.engine, market.tenant, party)[0] for party in ("anna", "ben", "cat")]
    assert names == ["anna", "ben", "cat"]
    assert row(market, "ben2") is not None


def test_another_tenants_api_sees_and_changes_nothing(market: Market, api: Engine) -> None:
    """PostgreSQL keeps them apart, whatever a query asks for; one that names no tenant sees none."""
    other = Market(market.engine, purse=0)
    know(market, "anna", **ANNA)
    know(other, "anna", name="Another Anna")
    stranger = for_tenant(api, other.tenant)
    assert parties.party(stranger, KEYS, market.tenant, "anna") is None
    assert parties.list_parties(stranger, KEYS, market.tenant, 10) == []
    assert read(KEYS, stranger, other.tenant, "anna")[0] == "Another Anna"
    for tenant in (stranger, for_tenant(api, "")):
        with tenant.begin() as connection:
            key = {"tenant": market.tenant}
            seen = connection.execute(text("SELECT count(*) FROM personal_data WHERE tenant_id = :tenant"), key)
            assert seen.scalar_one() == 0
            gone = connection.execute(text("DELETE FROM personal_data WHERE tenant_id = :tenant"), key)
            assert gone.rowcount == 0
    with pytest.raises(ProgrammingError, match="row-level security"):
        tenants.put_party(stranger, market.tenant, "eve", "Eve", keys=KEYS)
    tenants.erase_party(stranger, KEYS, market.tenant, "anna")
    assert known(market, "anna").name == "Anna Überall"


def test_the_api_writes_and_forgets_its_own_parties(market: Market, api: Engine) -> None:
    """Under its own role, with the rights it has."""
    tenants.put_party(api, market.tenant, "anna", keys=KEYS, **ANNA)
    assert read(KEYS, api, market.tenant, "anna") == tuple(ANNA.values())
    tenants.erase_party(api, KEYS, market.tenant, "anna")
    assert read(KEYS, api, market.tenant, "anna") == (None, None, None)


def test_parties_are_listed_newest_first_and_page_by_page(market: Market) -> None:
    """Each once, with what is known of it."""
    for number in range(5):
        know(market, f"anna{number}", name=f"Anna {number}")
    first = parties.list_parties(market.engine, KEYS, market.tenant, 4)
    rest = parties.list_parties(market.engine, KEYS, market.tenant, 4, first[-1].id)
    assert [one.id for one in first + rest] == ["anna4", "anna3", "anna2", "anna1", "anna0", "bob"]
    assert [one.name for one in first] == ["Anna 4", "Anna 3", "Anna 2", "Anna 1"]


def test_names_of_the_release_before_are_encrypted_and_gone_from_the_old_place(servers: Servers, older: str) -> None:
    """Each party keeps what was known of it; the columns go, and the words with them, from the table's file as well."""
    upgrade(older, keys=KEYS)
    engine = create_engine(older)
    assert read(KEYS, engine, "ten_1", "anna") == tuple(ANNA.values())
    assert read(KEYS, engine, "ten_1", "ben") == ("Ben", None, None)
    assert read(KEYS, engine, "ten_1", "cat") == (None, None, None)
    assert read(KEYS, engine, "ten_1", "p2500") == ("Person 2500", None, None)
    engine.dispose()
    with closing(servers.superuser("older")) as connection:
        assert one(connection, "SELECT count(*) FROM personal_data") == 2502
        connection.execute("CHECKPOINT")
        file = one(connection, "SELECT pg_read_binary_file(pg_relation_filepath('party'))")
        assert b"p2500" in file
        assert not [word for word in ("Überall", "anna@", "Person 2500") if word.encode() in file]


def test_without_keys_names_are_not_moved_and_nothing_is_half_done(servers: Servers, older: str) -> None:
    """The upgrade says what it lacks, and the database is what it was; where nobody has a name it needs none."""
    with pytest.raises(KeysNeededError, match=r"2502 parties .* HOLDFAST_KEYS must be set"):
        upgrade(older)
    with closing(servers.superuser("older")) as connection:
        assert one(connection, "SELECT version_num FROM alembic_version") == "0008"
        assert one(connection, "SELECT to_regclass('personal_data')") is None
        assert one(connection, "SELECT email FROM party WHERE id = 'anna'") == "anna@example.com"
    run_as_owner(older, "UPDATE party SET name = NULL, email = NULL, language = NULL")
    upgrade(older)
