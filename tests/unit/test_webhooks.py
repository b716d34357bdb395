"""Webhooks without their sending: where they may go, what is in them, when they are tried again."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from models.destinations import Destination, DestinationRefusedError, is_public
from models.notification_texts import EVENTS
from models.webhooks import (
    LONGEST_WAIT,
    MAX_BODY_BYTES,
    PUBLISHED,
    SCHEDULE,
    WITHHELD,
    TenantEvent,
    check_types,
    rest_after,
    wait_after,
    wanted,
)
from tests.builders import NOW
from tests.unit.source import ROOT
from tests.unit.test_notifications import emitted

PUBLIC = "93.184.216.34"
EVENT = TenantEvent("evt_1", "escrow.funded", 7, "ten_1", False, "esc_1", 2, {"amount": 5}, NOW)

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1",  # noqa: S104 - nothing listens there
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
    "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:93.184.216.34", "::ffff:a9fe:a9fe", "::127.0.0.1", "::93.184.216.34",
    "64:ff9b::7f00:1", "64:ff9b::5db8:d822", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:5db8:d822::1", "3fff::1", "5f00::1", "fc00::1",
    "fd12::1",
    "fe80::1", "fe80::1%eth0", "2606:4700::1111%eth0", "fec0::1", "ff02::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_edge_45_an_address_that_is_not_public_is_none_for_a_webhook(address: str) -> None:
    """Private, loopback, link-local, shared, reserved, multicast, and every form of IPv6 that holds an IPv4 address."""
    assert not is_public(address)
    for beside in ([address], [PUBLIC, address], [address, PUBLIC]):
        with pytest.raises(DestinationRefusedError, match="not public"):
            Destination.parse("https://hooks.example.com").judged(beside)


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::5"])
def test_a_public_address_is_one(address: str) -> None:
    assert Destination.parse("https://hooks.example.com").judged([address]) == (address,)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.53", "::1"])
def test_for_development_this_machine_is_allowed_and_no_other_private_one(address: str) -> None:
    """Plain http goes to this machine only."""
    for url in ("https://localhost", "http://localhost:8080/hooks"):
        assert Destination.parse(url, allow_loopback=True).judged([address]) == (address,)
    for other in ("10.0.0.1", "169.254.169.254", "192.168.1.1", "::ffff:127.0.0.1", "fe80::1", "0.0.0.0"):  # noqa: S104
        for url in ("https://hooks.example", "http://hooks.example"):
            with pytest.raises(DestinationRefusedError):
                Destination.parse(url, allow_loopback=True).judged([other])
    with pytest.raises(DestinationRefusedError, match="this machine only"):
        Destination.parse("http://hooks.example", allow_loopback=True).judged([PUBLIC])


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com", "ftp://hooks.example.com", "hooks.example.com", "//hooks.example.com", "https://",
        "https:///path", "HTTPS://hooks.example.com", "https://user@hooks.example.com", "https://user:pw@hooks.example.com",
        "https://hooks.example.com@127.0.0.1/", "https://127.0.0.1#@hooks.example.com/", "https://hooks.example.com#part",
        "https://hooks.example.com\\@127.0.0.1/", "https://hooks.example.com:0/", "https://hooks.example.com:65536/",
        "https://hooks.example.com:x/", "https://hooks.example.com:/", "https://hooks.example.com/a b",
        "https://hooks.example.com/\r\nHost: evil", "https://hooks.example.com/\x00", "https://hooks%2eexample.com/",
        "https://[::1", "https://::1/", "https://[fe80::1%25eth0]/", "https://[v1.x]/", "https://.example.com/",
        "https://" + "a" * 64 + ".example/", "https://hooks.example.com/ü", "https://hooks.example.com/" + "a" * 2000,
        "javascript:alert(1)", "file:///etc/passwd", "https://hooks.example.com\n", " https://hooks.example.com", "",
    ],
)  # fmt: skip
def test_edge_45_an_address_of_another_form_is_refused(url: str) -> None:
    """What parsers disagree about is nothing that we take."""
    with pytest.raises(DestinationRefusedError, match=r"expected|there is no port|at most|no IP"):
        Destination.parse(url)


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "authority"),
    [
        ("https://hooks.example.com", "hooks.example.com", 443, "/", "hooks.example.com"),
        ("https://Hooks.Example.com:8443/a/b?c=d", "hooks.example.com", 8443, "/a/b?c=d", "hooks.example.com:8443"),
        ("https://hooks.example.com?c=d%20e", "hooks.example.com", 443, "/?c=d%20e", "hooks.example.com"),
        ("https://hooks.example.com./", "hooks.example.com.", 443, "/", "hooks.example.com."),
        ("https://bücher.example/", "xn--bcher-kva.example", 443, "/", "xn--bcher-kva.example"),
        ("https://[2606:4700::1111]:444/", "2606:4700::1111", 444, "/", "[2606:4700::1111]:444"),
        ("https://[::ffff:127.0.0.1]/", "::ffff:7f00:1", 443, "/", "[::ffff:7f00:1]"),
        ("https://2130706433/", "2130706433", 443, "/", "2130706433"),
        ("https://①②⑦.⓪.⓪.①/", "127.0.0.1", 443, "/", "127.0.0.1"),
    ],
)
def test_an_address_is_read_as_it_will_be_asked_for(
    url: str, host: str, port: int, target: str, authority: str
) -> None:
    """Odd forms of a number are left to the look-up, whose answer is judged."""
    read = Destination.parse(url)
    assert (read.host, read.port, read.target) == (host, port, target)
    assert read.authority == authority


def test_the_name_that_leads_nowhere_is_refused() -> None:
    with pytest.raises(DestinationRefusedError, match="no address"):
        Destination.parse("https://hooks.example.com").judged([])


def test_it_is_decided_for_every_key_of_every_event_whether_it_leaves_the_house() -> None:
    """A new key is published or withheld on purpose, not by chance."""
    said = {key for _, _, keys in emitted() for key in keys} | {"command", "name", "code", "endpoint"}
    assert said - PUBLISHED - WITHHELD == set()
    assert not PUBLISHED & WITHHELD
    assert said == PUBLISHED | WITHHELD, "no event has these any more"


def test_the_body_is_small_and_the_same_every_time() -> None:
    """Below the 20 kB of the standard, whatever an event holds."""
    assert EVENT.body() == replace(EVENT, data=dict(EVENT.data)).body()
    assert json.loads(EVENT.body()) == EVENT.document()
    large = replace(EVENT, data={"milestones": [f"mil_{n:026d}" for n in range(1000)]})
    assert len(large.body()) < MAX_BODY_BYTES
    assert json.loads(large.body())["data"] == {"truncated": True}


@pytest.mark.parametrize(
    ("patterns", "kind", "has"),
    [
        (["*"], "escrow.funded", True),
        (["escrow.*"], "escrow.funded", True),
        (["escrow.funded"], "escrow.funded", True),
        (["escrow.*"], "payout.paid", False),
        (["payout.sent"], "payout.paid", False),
    ],
)
def test_a_pattern_has_a_type_a_family_or_all(patterns: Sequence[str], kind: str, has: bool) -> None:
    assert any(wanted(one, kind) for one in check_types(patterns)) == has


@pytest.mark.parametrize("kind", EVENTS)
def test_every_type_of_event_can_be_asked_for(kind: str) -> None:
    assert check_types([kind, "*", kind]) == (kind, "*")


def test_the_waits_are_those_of_the_standard_with_at_most_a_tenth_more() -> None:
    """Ten attempts; what the receiver asks for counts where it is longer, up to a day."""
    for attempts, planned in enumerate(SCHEDULE[1:], start=1):
        assert wait_after(attempts, 0) == planned
        assert planned <= (wait_after(attempts, 999) or timedelta.max) <= planned * 11 / 10
    assert wait_after(len(SCHEDULE), 0) is None
    assert wait_after(1, 0, timedelta(minutes=1)) == timedelta(minutes=1)
    assert wait_after(1, 0, timedelta(days=400)) == LONGEST_WAIT
    assert wait_after(9, 0, timedelta(seconds=1)) == SCHEDULE[9]


def test_an_endpoint_that_fails_again_and_again_is_left_alone_for_up_to_a_minute() -> None:
    """Not for its first failures; longer only where it asks for it, up to an hour."""
    assert [rest_after(n).total_seconds() for n in (1, 2, 3, 4, 5, 6, 99)] == [0, 0, 8, 16, 32, 60, 60]
    assert rest_after(1, timedelta(minutes=5)) == timedelta(minutes=5)
    assert rest_after(1, timedelta(days=5)) == timedelta(hours=1)


def test_the_page_about_webhooks_lists_every_type_of_event() -> None:
    """Nobody has to read the code to learn what can be asked for, and nothing is promised that never comes."""
    page = (ROOT / "docs/webhooks.md").read_text(encoding="utf-8").partition("## All types")[2]
    assert set(re.findall(r"`([a-z_]+\.[a-z_]+)`", page)) == set(EVENTS)
