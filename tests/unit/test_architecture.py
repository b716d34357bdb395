"""The arrows between the rooms: one look at a file's folder tells what it may touch. Source: architecture.md."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.unit.source import ROOMS, Source, sources

# architecture.md, "The rooms". Tests, benchmarks and chaos may import everything; so may the worker, which composes.
MAY_IMPORT: Final = {
    "models": {"models"},
    "ledger": {"ledger", "models"},
    "activities": {"activities", "models", "ledger"},
    "workflows": {"workflows", "models", "activities"},
    "starter": {"starter", "models", "workflows", "ledger", "settings"},
    "settings": set(),
    "worker": {*ROOMS, "settings"} - {"tests", "benchmarks", "chaos"},
}
# Single modules beyond that. What compares the books with the workflows reads both, and moves nothing.
BESIDES: Final = {"starter": {"activities.standing"}}
OURS: Final = {*ROOMS, "settings", "worker"}

# The core computes and does nothing else, so what it may use is a list of what is pure.
PURE: Final = frozenset(
    {
        "collections", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "ipaddress",
        "itertools", "json", "operator", "pydantic", "re", "types", "typing", "unicodedata",
    }
)  # fmt: skip

# Workflow code is replayed: whatever reads the world would answer differently the second time.
REPLAYED_MAY_NOT: Final = frozenset(
    {
        "httpx", "os", "pathlib", "psycopg", "pydantic_settings", "random", "requests", "secrets", "shutil", "socket",
        "sqlalchemy", "stripe", "subprocess", "sys", "tempfile", "threading", "time", "urllib", "uuid",
    }
)  # fmt: skip

NOT_FOR: Final = {
    "ledger": frozenset({"httpx", "requests", "stripe", "temporalio", "starlette", "uvicorn"}),
    "workflows": REPLAYED_MAY_NOT,
    "settings": frozenset({"sqlalchemy", "psycopg", "temporalio", "httpx"}),
}

READS_A_CLOCK: Final = re.compile(r"((datetime|date|dt)\.(now|utcnow|today)|time\.\w+|monotonic|perf_counter)$")
MOVES_MONEY: Final = re.compile(r"\.(apply|begin_charge|settle_charge)$")


def of(room: str) -> tuple[Source, ...]:
    """The files of a room, or the module of that name at the top level."""
    return tuple(source for source in sources() if source.room == room)


def top(module: str) -> str:
    """The package of a dotted name."""
    return module.partition(".")[0]


def report(violations: Iterator[str], rule: str) -> None:
    """Fail with every violation and the rule that was broken."""
    found = sorted(set(violations))
    assert not found, "\n".join([rule, *found])


def test_every_room_imports_only_what_its_row_of_the_table_allows() -> None:
    report(
        (
            f"{source.at(line)} imports {module}; {room} may import of ours: {', '.join(sorted(allowed))}"
            for room, allowed in MAY_IMPORT.items()
            for source in of(room)
            for line, module in source.imports()
            if top(module) in OURS - allowed and not module.startswith(tuple(BESIDES.get(room, ())))
        ),
        "An arrow points the wrong way (architecture.md, 'The rooms'). Move the code, or pass the collaborator in:",
    )


def test_the_core_uses_nothing_that_touches_the_world() -> None:
    report(
        (
            f"{source.at(line)} imports {module}"
            for source in of("models")
            for line, module in source.imports()
            if top(module) not in PURE | {"models"}
        ),
        f"models/ is pure: no I/O, no clock, no SQLAlchemy, no engine. It may import {', '.join(sorted(PURE))}; "
        "what it needs to know of the world is passed in (see Funds and `now`):",
    )


def test_no_room_uses_a_library_that_belongs_to_another() -> None:
    report(
        (
            f"{source.at(line)} imports {module}; {room} may not import: {', '.join(sorted(forbidden))}"
            for room, forbidden in NOT_FOR.items()
            for source in of(room)
            for line, module in source.imports()
            if top(module) in forbidden
        ),
        "The ledger knows PostgreSQL only, and workflows know neither a database, a network nor a clock:",
    )


def test_core_and_workflows_read_no_clock_of_their_own() -> None:
    report(
        (
            f"{source.at(line)} calls {call}()"
            for room in ("models", "workflows")
            for source in of(room)
            for line, call in source.calls()
            if READS_A_CLOCK.search(call) and not call.endswith("workflow.now")
        ),
        "Time is an argument: in models/ it is `now`, in workflows/ it is `workflow.now()`:",
    )


def test_money_is_moved_from_outside_only_through_a_workflow() -> None:
    report(
        (
            f"{source.at(line)} calls {call}()"
            for source in of("starter")
            for line, call in source.calls()
            if MOVES_MONEY.search(call)
        ),
        "starter/ may read the ledger, keep tenants and policies, and record refusals; commands that move money go "
        "to the escrow's workflow:",
    )
    report(
        (
            f"{source.at(line)} imports {module}"
            for source in of("starter")
            for line, module in source.imports()
            if module.startswith(("ledger.write", "ledger.charges"))
        ),
        "starter/ may not import what writes the books:",
    )


def test_a_file_that_defines_a_workflow_defines_no_pydantic_class() -> None:
    report(
        (
            f"{source.at(node.lineno)} class {node.name}"
            for source in of("workflows")
            if "@workflow.defn" in source.text
            for node in source.classes()
            if {"BaseModel", "Document"} & {ast.unparse(parent).split(".")[-1] for parent in node.bases}
        ),
        "The sandbox would build the class again for every escrow: define it in workflows/inputs.py or models/:",
    )


def test_the_checks_see_the_program() -> None:
    """An architecture test that looks at no file would pass for ever."""
    assert {room for room in MAY_IMPORT if of(room)} == set(MAY_IMPORT)
    assert any(module == "models.divisions" for source in of("models") for _, module in source.imports())
    assert any(call.endswith("decide") for source in of("ledger") for _, call in source.calls())
