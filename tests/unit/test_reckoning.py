"""The reckoning of ``make chaos`` can fail: each kind of damage to books that agree is named."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos import stock, weather, witness
from chaos.callers import Seen
from chaos.points import NAME, ORDERS, POINTS, Orders
from chaos.witness import Movements
from starter.sandbox.books import Books

KEY, CHARGE = "pay_1:1", "chg_1"


def sandbox(directory: Path, *changed: dict[str, Any]) -> Movements:
    """The provider's books with a charge of 5000 and a transfer of 1350, and what was changed about them."""
    charge = {"id": "ch_1", "object": "charge", "status": "succeeded", "amount": 5000, "metadata": {"holdfast_key": CHARGE}}  # fmt: skip  # noqa: E501
    objects = {"ch_1": charge, "tr_1": transfer(), **{one["id"]: one for one in changed}}
    books = Books(directory / "sandbox.db", 86400)
    for one in objects.values():
        books.put(one)
        if one["object"] == "charge":
            books.move("charge", one["amount"], "eur", one["id"])
        if one["object"] == "transfer" and one["amount"]:
            books.move("transfer", -one["amount"], "eur", one["id"])
    books.close()
    return witness.theirs(directory / "sandbox.db")


def transfer(identifier: str = "tr_1", key: str = KEY, amount: int = 1350, reversed_: int = 0) -> dict[str, Any]:
    """A transfer in the provider's books."""
    told = {"id": identifier, "object": "transfer", "amount": amount, "amount_reversed": reversed_}
    return told | {"metadata": {"holdfast_key": key}}


def ledger() -> Movements:
    """What our side has when both agree."""
    return Movements(charges={CHARGE: [5000]}, payouts={KEY: [-1350]}, balance=Counter(EUR=3650))


def test_books_that_agree_have_no_differences(tmp_path: Path) -> None:
    their = sandbox(tmp_path)
    assert list(witness.differences(their, ledger())) == []
    assert (witness.twice(their.arrived), witness.lost_units(their, ledger())) == ([], 0)


def test_a_payout_that_was_sent_twice_under_one_key_is_named(tmp_path: Path) -> None:
    their = sandbox(tmp_path, transfer("tr_2"))
    assert f"payouts: the provider has {KEY} 2 times: [-1350, -1350]" in list(witness.differences(their, ledger()))
    assert witness.lost_units(their, ledger()) == 1350


@pytest.mark.parametrize("key", [KEY, "pay_1:2", "pay_1:1a"])
def test_a_payout_that_has_arrived_twice_is_counted_whatever_its_keys(tmp_path: Path, key: str) -> None:
    their = sandbox(tmp_path, transfer("tr_2", key))
    assert "double payout: pay_1 has arrived by tr_1, tr_2" in list(witness.differences(their, ledger()))
    assert witness.twice(their.arrived) == ["pay_1"]


def test_a_payout_that_came_back_may_be_sent_again(tmp_path: Path) -> None:
    their = sandbox(tmp_path, transfer(reversed_=1350), transfer("tr_2", "pay_1:2"))
    assert witness.twice(their.arrived) == []


def test_one_unit_is_not_too_small(tmp_path: Path) -> None:
    found = list(witness.differences(sandbox(tmp_path, transfer(amount=1351)), ledger()))
    assert found[0] == f"payouts: {KEY} is [-1351] with the provider and [-1350] in the ledger"
    assert found[1].startswith("lost units: the provider has 3649 EUR")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (transfer(key="pay_2:1"), "payouts: the provider does not have pay_1:1 of [-1350]"),
        (transfer("tr_2", "pay_2:1"), "payouts: the ledger does not have pay_2:1 of [-1350]"),
        (transfer(reversed_=1350), "returns: the ledger does not have tr_1 of [1350]"),
    ],
    ids=["missing there", "missing here", "returned"],
)
def test_what_one_side_does_not_have_is_named(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    assert says in list(witness.differences(sandbox(tmp_path, changed), ledger()))


def test_what_clients_were_told_is_held_against_the_books() -> None:
    seen = Seen(accepted={"a": "approve", "b": "fund", "c": "topups"}, refused={"d": "cancel"})
    assert list(stock.promises(seen, {"a", "b"})) == []
    assert len(list(stock.promises(seen, {"a", "d"}))) == 2


def test_a_second_answer_under_a_key_and_a_strange_one_are_told() -> None:
    seen = Seen()
    for version in (1, 1, 2):
        seen.saw("approve", "a-key", httpx.Response(200, json={"version": version}))
    seen.saw("approve", "another", httpx.Response(500, json={"code": "internal_error"}))
    found = "\n".join(stock.what_clients_saw(seen))
    assert "different answers under a-key" in found
    assert "approve: 500" in found
    assert "another" not in found


def test_an_order_kills_the_first_process_that_passes_and_no_other(tmp_path: Path) -> None:
    orders = Orders(tmp_path / "orders")
    orders.give("api-kept", "kill", 0)
    passing = "from chaos.points import pass_by; pass_by('api-claimed'); pass_by('api-kept')"
    env = os.environ | {ORDERS: str(tmp_path / "orders"), NAME: "api1"}
    ends = [subprocess.run([sys.executable, "-c", passing], env=env, check=False).returncode for _ in range(2)]
    assert ends == [-signal.SIGKILL, 0]
    (strike,) = orders.collect()
    assert (strike.point, strike.name, strike.action) == ("api-kept", "api1", "kill")
    assert orders.withdraw() == []


def test_a_seed_is_the_same_weather_again_and_the_short_script_hits_everything() -> None:
    def days(seed: int) -> str:
        return json.dumps([(one.wait, one.fault.kind) for one in islice(weather.by_chance(seed, 5), 400)])

    seed = 4711
    assert days(seed) == days(seed) != days(seed + 1)
    everything = {*POINTS, *weather.VICTIMS}
    assert {one.fault.victim for one in islice(weather.by_chance(seed, 5), 2000)} == everything
    assert {one.fault.victim for one in weather.everything_once()} == everything
