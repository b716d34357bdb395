"""``holdfast`` as scripts and shells use it: where the stack is, what a deal came to, the API alone, completion."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from starter.embedded.home import running
from tests.end_to_end.command_line import PROGRAM, CommandLine, finish
from tests.gateway.sandbox_process import free_port
from tests.servers import eventually


@pytest.fixture
def holdfast() -> Iterator[CommandLine]:
    """A home where nothing was done yet."""
    with tempfile.TemporaryDirectory() as directory:
        yield CommandLine(Path(directory))


def test_a_script_brings_a_stack_up_plays_the_demo_and_runs_an_api_of_its_own(holdfast: CommandLine) -> None:
    """One line of JSON says where everything is; the demo's numbers are in its report; `api` serves the same books."""
    plan = holdfast.home.with_name("plan.json")
    plan.write_text('{"seed": "four"}')
    refused = holdfast("up", "--fault-plan", plan)
    assert (refused.code, "seed: a whole number" in refused.err) == (2, True), refused
    plan.write_text('{"seed": 4}')
    up = holdfast.start("up", "--json", "--fault-plan", plan)
    try:
        assert up.stdout is not None
        said = json.loads(up.stdout.readline())
        assert set(said) == {
            "home", "api", "docs", "temporal", "temporal_namespace", "temporal_ui", "codec_login", "sandbox", "secrets",
            "logs",
        }  # fmt: skip
        for page in (said["codec_login"], f"{said['sandbox']}/healthz"):
            assert httpx.get(page, trust_env=False).is_success
        assert httpx.get(f"{said['api']}/healthz", trust_env=False).is_success
        assert httpx.get(f"{said['sandbox']}/sandbox/plan", trust_env=False).json() == {"seed": 4}
        assert "bootstrap_secret" in json.loads(Path(said["secrets"]).read_text())
        demo = holdfast("demo", "--json")
        assert (demo.code, demo.err) == (0, ""), demo
        report = json.loads(demo.out)
        assert (report["title"], report["balanced"], report["problems"]) == ("Website redesign", True, [])
        assert report["escrow"]["state"] == "completed"
        assert [step["number"] for step in report["steps"]] == list(range(1, len(report["steps"]) + 1))
        _serves_an_api(holdfast)
        up.terminate()
        ended = finish(up)
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    finally:
        up.kill()


def _serves_an_api(holdfast: CommandLine) -> None:
    endpoints = running(holdfast.home)
    assert endpoints is not None
    port = free_port()
    api = holdfast.start("api", **{**endpoints.environment(), "HOLDFAST_API_PORT": str(port)})
    try:
        eventually(lambda: _answers(f"http://127.0.0.1:{port}/healthz", api), within=60)
        api.terminate()
        assert finish(api).code == 0
    finally:
        api.kill()


def _answers(address: str, process: subprocess.Popen[str]) -> bool:
    assert process.poll() is None, finish(process)
    try:
        return httpx.get(address, trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_the_shell_gets_a_script_for_completion() -> None:
    """For the shell that asks, whatever it is that starts us."""
    shown = subprocess.run(
        ["bash", "-c", f"{shlex.quote(str(PROGRAM))} --show-completion; true"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "complete -o default -F _holdfast_completion holdfast" in shown.stdout
    assert "_HOLDFAST_COMPLETE=complete_bash" in shown.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("holdfast disp", {"dispute"}),
        ("holdfast tenant r", {"rotate-key", "revoke-key"}),
        ("holdfast escrow list --st", {"--state"}),
        ("holdfast payout list --status re", {"returned"}),
    ],
)
def test_the_shell_completes_commands_options_and_their_values(typed: str, offered: set[str]) -> None:
    """As the script of the shell asks for it."""
    words = typed.split()
    asked = {"_HOLDFAST_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run([PROGRAM], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered


def test_the_version_is_a_document_too(holdfast: CommandLine) -> None:
    """Scripts need not parse a sentence."""
    assert f"holdfast {json.loads(holdfast('version', '--json').out)['version']}\n" == holdfast("--version").out
