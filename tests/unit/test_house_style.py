"""A style rule is a test or it is not a rule. See CONTRIBUTING.md, "Rules of the house"."""

import ast
import re
from collections.abc import Iterator
from typing import Final

from tests.unit.source import ROOT, Source, sources
from tests.unit.test_architecture import of, report

FILE_LINES: Final = 400
FUNCTION_LINES: Final = 60
NAMELESS: Final = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "managers", "base", "misc"})

# __init__.py files that are not empty, each with its reason.
INIT_ALLOWED: Final = {
    "starter/client/holdfast_client/__init__.py": "a library for others: `from holdfast_client import Holdfast`"
}

# Floats that are not money, each with its reason.
FLOATS_ALLOWED: Final = {"activities/gateways/stripe.py": "HTTP timeouts in seconds: the library's own unit"}


def of_money() -> Iterator[Source]:
    """The files near money."""
    return (source for room in ("models", "ledger", "activities") for source in of(room))


def test_no_file_is_longer_than_400_lines() -> None:
    report(
        (
            f"{source.name} has {length} lines"
            for source in sources()
            if (length := len(source.text.splitlines())) > FILE_LINES
        ),
        f"A file has at most {FILE_LINES} lines (the median is about 100). Split it by subject:",
    )


def test_no_function_is_longer_than_60_lines() -> None:
    report(
        (
            f"{source.at(function.lineno)} {function.name} has {length} lines"
            for source in sources()
            for function in source.functions()
            if (length := (function.end_lineno or function.lineno) - function.lineno + 1) > FUNCTION_LINES
        ),
        f"A function has at most {FUNCTION_LINES} lines (most have about 10). Name its steps:",
    )


def test_every_init_file_is_empty() -> None:
    report(
        (
            source.name
            for source in sources()
            if source.path.name == "__init__.py" and bool(source.text) != (source.name in INIT_ALLOWED)
        ),
        "__init__.py stays empty: import from the module that defines the name:",
    )


def test_files_and_folders_have_names_that_say_what_they_hold() -> None:
    report(
        (source.name for source in sources() if NAMELESS & {part.removesuffix(".py") for part in source.path.parts}),
        f"Files are nouns of the field; these names hold anything: {', '.join(sorted(NAMELESS))}:",
    )


def test_no_float_comes_near_money() -> None:
    report(
        (
            source.at(node.lineno)
            for source in of_money()
            if source.name not in FLOATS_ALLOWED
            for node in source.nodes()
            if (isinstance(node, ast.Constant) and isinstance(node.value, float | complex))
            or (isinstance(node, ast.Name) and node.id == "float")
        ),
        "Money is integer minor units, rates are Decimal, shares are Fraction; models/, ledger/ and activities/ have "
        "no float (one that is no money goes to FLOATS_ALLOWED with its reason):",
    )


def test_every_exception_from_the_float_rule_is_still_needed() -> None:
    for name, reason in FLOATS_ALLOWED.items():
        assert reason
        assert "float" in (ROOT / name).read_text(encoding="utf-8"), f"{name} has no float any more: drop its exception"


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    report(
        (
            f"{source.at(line)} calls {call}()"
            for source in of("tests")
            for line, call in source.calls()
            if call in {"time.sleep", "asyncio.sleep", "sleep"}
        ),
        "A test waits for a condition with a limit, not for time to pass:",
    )


def test_tests_replace_nothing_with_mocks() -> None:
    report(
        (
            f"{source.at(line)} imports {module}"
            for source in of("tests")
            for line, module in source.imports()
            if re.match(r"(unittest\.)?mock\b", module)
        ),
        "Nothing is mocked that the embedded stack has for real; the core needs no mock at all:",
    )


def test_every_test_folder_is_a_package_so_that_none_shadows_a_room() -> None:
    folders = {(ROOT / source.path).parent for source in of("tests")}
    missing = sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists())
    assert not missing, f"add an empty __init__.py to: {', '.join(missing)}"
