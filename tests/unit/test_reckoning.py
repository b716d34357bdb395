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

from chaos import endings, floors, plan, stock, weather, witness
from chaos.callers import Seen
from chaos.meddling import MEDDLED
from chaos.points import NAME, ORDERS, POINTS, Orders
from chaos.stage import Ended
from chaos.weather import Fault
from chaos.witness import Movements
from starter.sandbox.books import Books

KEY, CHARGE = "pay_1:1", "chg_1"
TO_THE_SELLER, OF_THE_BUYER = "acct_seller in EUR", "5000 EUR of buyer by pm_card_visa"


def sandbox(directory: Path, *changed: dict[str, Any]) -> Movements:
    """The provider's books with a charge of 5000 and a transfer of 1350, and what was changed about them."""
    objects = {"ch_1": charge(), "tr_1": transfer(), **{one["id"]: one for one in changed}}
    books = Books(directory / "sandbox.db", 86400)
    for one in objects.values():
        books.put(one)
        if one["object"] == "charge":
            books.move("charge", one["amount"], "eur", one["id"])
        if one["object"] == "transfer" and one["amount"]:
            books.move("transfer", -one["amount"], "eur", one["id"])
    books.close()
    return witness.theirs(directory / "sandbox.db")


def charge(party: str = "buyer", method: str = "pm_card_visa", currency: str = "eur") -> dict[str, Any]:
    """A charge in the provider's books."""
    told = {"id": "ch_1", "object": "charge", "status": "succeeded", "amount": 5000, "currency": currency}
    return told | {"payment_method": method, "metadata": {"holdfast_key": CHARGE, "holdfast_party": party}}


def transfer(
    identifier: str = "tr_1", key: str = KEY, amount: int = 1350, reversed_: int = 0, account: str = "acct_seller"
) -> dict[str, Any]:
    """A transfer in the provider's books."""
    told = {"id": identifier, "object": "transfer", "amount": amount, "amount_reversed": reversed_, "currency": "eur"}
    return told | {"destination": account, "metadata": {"holdfast_key": key}}


def ledger() -> Movements:
    """What our side has when both agree."""
    whom = {KEY: {TO_THE_SELLER}, CHARGE: {OF_THE_BUYER}}
    return Movements(charges={CHARGE: [5000]}, payouts={KEY: [-1350]}, whom=whom, balance=Counter(EUR=3650))


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


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (transfer(account="acct_mallory"), f"{KEY} is acct_mallory in EUR with the provider, and may only be"),
        (charge(party="mallory"), f"{CHARGE} is 5000 EUR of mallory by pm_card_visa with the provider"),
        (charge(method="pm_card_mallory"), f"{CHARGE} is 5000 EUR of buyer by pm_card_mallory with the provider"),
        (charge(currency="usd"), f"{CHARGE} is 5000 USD of buyer by pm_card_visa with the provider"),
    ],
    ids=["another account", "another payer", "another card", "another currency"],
)
def test_money_that_reached_or_came_from_somebody_else_is_named(
    tmp_path: Path, changed: dict[str, Any], says: str
) -> None:
    (found,) = witness.differences(sandbox(tmp_path, changed), ledger())
    assert found.startswith(f"somebody else: {says}")


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
    everything = {*POINTS, *weather.VICTIMS, *MEDDLED} - {"temporal-data"}
    assert {one.fault.victim for one in islice(weather.by_chance(seed, 5), 2000)} == everything
    assert {one.fault.victim for one in weather.everything_once()} == everything
    once = [one for one in islice(weather.by_chance(seed, 5, 60), 400) if one.fault.victim == "temporal-data"]
    assert len(once) == 1


def of(name: str, ending: str, output: str = "", began: float = 100) -> Ended:
    """A process of ours with the id 7 that lived for ten seconds."""
    return Ended(name, 7, ending, began, began + 10, output)


def test_a_process_that_ends_without_an_order_is_named() -> None:
    ours = Fault("kill", "worker1", struck="worker1", pids=(7,), began=109, ended=109)
    another = Fault("pause", "worker1", struck="worker1", pids=(7,), began=101, ended=105)
    assert endings.sort_out([of("worker1", "SIGKILL")], [another, ours]) == ([], [])
    for one in (of("worker1", "SIGKILL"), of("worker1", "exit code 3"), of("api1", "exit code 1")):
        (said,) = endings.sort_out([one], [another])[1]
        assert said.startswith(f"{one.name} ended by itself after 10.0 s, {one.ending}")


def test_only_a_process_that_never_came_up_may_end_for_want_of_a_server() -> None:
    away = Fault("kill", "temporal", struck="temporal", pids=(8,), began=95, ended=95)
    in_vain = of("worker2", "exit code 1", "Temporal cannot be reached")
    assert endings.sort_out([in_vain], [away]) == (["worker2: exit code 1"], [])
    up = of("worker2", "exit code 1", "holdfast worker ready\n")
    for one, faults in (
        (in_vain, []),
        (up, [away]),
        (of("worker2", "exit code 3"), [away]),
        (of("worker2", "exit code 1", began=300), [away]),
    ):
        assert len(endings.sort_out([one], faults)[1]) == 1


@pytest.mark.parametrize("line", ["thread 'tokio' panicked at core.rs", "Task was destroyed but it is pending!"])
def test_a_mistake_of_the_program_in_a_log_is_named(tmp_path: Path, line: str) -> None:
    log = tmp_path / "worker1.log"
    log.write_text(f"holdfast worker ready\n{line}\nwarning\n")
    assert list(endings.unheard_of([log])) == [f"worker1.log: {line}"]


def test_a_run_in_which_little_happened_is_told_so() -> None:
    struck = {*MEDDLED}
    least = plan.long(10, 20, 6, 1).floors
    done = {name: Counter(ok=number) for name, number in least.commands.items()}
    enough = (least.faults, least.injected, least.payouts)
    assert list(floors.below(least, *enough, done, struck)) == []
    assert min(enough) > 10
    assert set(done) > {"create", "fund", "approve", "resolve", "reverse", "refund", "retry"}
    nothing = list(floors.below(least, 0, 0, 0, {"approve": Counter(declined=1000)}, set()))
    assert len(nothing) == 3 + sum(number > 0 for number in least.commands.values()) + len(MEDDLED)
    assert plan.long(1, 1, 1000, 1).floors.faults > 1
    assert plan.long(0.03, 1, 1000, 1).proves_little
    assert not plan.long(1, 1, 1000, 1).proves_little
