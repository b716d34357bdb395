"""The document of a fault plan: what is refused, and that docs/sandbox.md tells the truth about the rest."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from starter.sandbox.faults import FAULTS
from starter.sandbox.reading import checked, parsed, why
from starter.sandbox.wire import RefusedError

PAGE = (Path(__file__).parents[2] / "docs/sandbox.md").read_text(encoding="utf-8")


def refusal(text: bytes) -> str:
    """What is said against a plan."""
    with pytest.raises(RefusedError) as raised:
        checked(text)
    return why(raised.value)


def request(**entry: Any) -> str:
    return json.dumps({"requests": [{"operation": "transfer", "fault": "delay"} | entry]})


def happening(**entry: Any) -> str:
    return json.dumps({"happenings": [{"after": "charge", "happening": "contest"} | entry]})


REFUSED: list[tuple[str, str]] = [
    ("", "the plan is not JSON"),
    ("[]", "the plan: an object with seed, requests, happenings, webhooks, forget_keys_after_seconds, not []"),
    ("[" * 100_000, "the plan is not JSON"),
    ('{"seed": 1, "seed": 2}', 'the member "seed" is there twice'),
    ('{"seed": true}', "seed: a whole number from"),
    ('{"sede": 1}', "sede: there is no such member; known are seed, requests"),
    ('{"requests": {}}', "requests: a list of objects, not {}"),
    ('{"requests": [{}]}', "requests[0]: operation is missing"),
    (
        request(operation="payout"),
        'requests[0].operation: one of charge, refund, transfer, cancel, look_up, *, not "payout"',
    ),
    (request(operation=[]), "requests[0].operation: one or a list of at least one"),
    (request(operation=["charge", 1]), "requests[0].operation[1]: one of"),
    (request(fault="explode"), "requests[0].fault: one of decline, pending"),
    (request(fault="pending"), "requests[0].fault: pending is only for charge, refund, not transfer"),
    (request(operation="look_up", fault="decline"), "requests[0].fault: decline is only for"),
    (request(probability=1.01), "requests[0].probability: a number from 0 to 1, not 1.01"),
    (request(probability="0.5"), "requests[0].probability: a number from 0 to 1"),
    (
        '{"requests": [{"operation": "transfer", "fault": "delay", "probability": NaN}]}',
        "a number from 0 to 1, not NaN",
    ),
    (request(probability=0.5, nth=3), "requests[0]: nth or probability, not both"),
    (request(nth=0), "requests[0].nth: a whole number from 1"),
    (request(attempt=[1, 1.5]), "requests[0].attempt[1]: a whole number from 1"),
    (request(seconds=-1), "requests[0].seconds: a number from 0 to 3,600"),
    (request(match={"key": 1}), "requests[0].match: an object of parameter names"),
    (request(retry_after=1), "requests[0].retry_after: only the fault rate_limit has it, not delay"),
    (request(fault="rate_limit", retry_after=0.5), "requests[0].retry_after: a whole number"),
    (request(fault="decline", code="Closed!"), "requests[0].code: a word of small letters"),
    (happening(after="transfer"), 'happenings[0].happening: one of reverse, not "contest"'),
    (happening(share=0), "happenings[0].share: a number above 0"),
    (happening(happening="fail", share=0.5), "happenings[0].share: only of reverse and contest, not of fail"),
    (happening(decide={"status": "open"}), "happenings[0].decide.status: one of won, lost, warning_closed"),
    ('{"webhooks": {"lost": 2}}', "webhooks.lost: a number from 0 to 1, not 2"),
    ('{"webhooks": {"lost": {"probability": 1, "seconds": 1}}}', "webhooks.lost.seconds: there is no such member"),
    ('{"webhooks": {"late": {}}}', "webhooks.late: probability is missing"),
    ('{"forget_keys_after_seconds": null}', "forget_keys_after_seconds: a number from 0"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED, ids=[str(number) for number in range(len(REFUSED))])
def test_a_wrong_plan_is_refused_with_its_place_and_what_is_allowed(text: str, said: str) -> None:
    """The first mistake is named."""
    assert said in refusal(text.encode())


def test_text_that_is_no_text_is_no_plan() -> None:
    assert refusal(b"\xff\xfe") == "the plan is not UTF-8"


def test_the_example_of_the_documentation_is_a_plan_and_its_table_has_every_fault() -> None:
    """docs/sandbox.md shows a plan that works, and lists every fault there is."""
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example
    plan = parsed(example[1])
    assert (plan.seed, len(plan.requests), len(plan.happenings), len(plan.webhooks)) == (7, 6, 2, 4)
    table = PAGE.partition("| fault | what happens |")[2].partition("###")[0]
    listed = {
        name for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert listed == set(FAULTS)
