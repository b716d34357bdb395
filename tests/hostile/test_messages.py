"""What strangers may send to an escrow's workflow: refused or ignored, no task fails, and a good command goes through.

``tests/workflow/test_refusals.py`` has the plain cases, one by one; here everything meets one escrow.
"""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue

from ledger.keyring import Keyring
from models.commands import ApproveMilestone
from models.escrow import Escrow
from models.states import State
from starter.payloads import EncryptedPayloads, data_converter
from tests.builders import BUYER, new_id, order
from tests.hostile.corpus_files import entries, text_of
from tests.servers import soon
from tests.workers import where
from tests.workflow.scene import Scene

pytestmark = pytest.mark.anyio

# As long as what Temporal takes of one message at most, nearly.
_HUGE: Final = 1_500_000
_LONGEST: Final = 4000
_FAILED: Final = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
_BROKEN_OFF: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND


def raw(data: bytes, **metadata: bytes) -> RawValue:
    """A payload as it is."""
    return RawValue(Payload(metadata={"encoding": b"json/plain", **metadata}, data=data))


async def encrypted(keys: Keyring, damage: bool, document: bytes = b"{}") -> RawValue:
    """A payload under these keys, of which perhaps a byte is wrong."""
    plain = Payload(metadata={"encoding": b"json/plain"}, data=document)
    (payload,) = await EncryptedPayloads(keys).encode([plain])
    if damage:
        payload.data = payload.data[:-1] + bytes([payload.data[-1] ^ 1])
    return RawValue(payload)


async def strange(scene: Scene, escrow: Escrow, other: Escrow) -> dict[str, tuple[Any, ...]]:
    """The arguments of one message each, under a name that tells what is wrong."""
    good = order(ApproveMilestone, escrow)
    sealed = scene.sealed(good)
    document = json.loads(good.model_dump_json())
    ours, elsewhere = Keyring(scene.keys.keys), other.milestones[0].id
    namesake = Keyring.parse(f"{ours.current}:{b64encode(bytes(32)).decode()}")
    fields = {
        f"{field}: {case['name']}": (
            raw(json.dumps(document | {field: "@"}).replace('"@"', text_of(case, "json"), 1).encode()),
        )
        for number, case in enumerate(entries("values"))
        if len(text_of(case, "json")) < _LONGEST
        for field in [list(document)[number % len(document)]]
    }
    return {
        "unsealed": (good,),
        "a forged seal": (sealed.model_copy(update={"seal": f"{ours.current}:{'0' * 64}"}),),
        "a seal for another command": (sealed.model_copy(update={"milestone": escrow.milestones[1].id}),),
        "a seal for another actor": (sealed.model_copy(update={"actor": BUYER.model_copy(update={"party": "bob"})}),),
        "a sealed command of another escrow": (scene.sealed(order(ApproveMilestone, other)),),
        "another escrow's milestone": (scene.sealed(order(ApproveMilestone, escrow, milestone=elsewhere)),),
        "as the system": (document | {"actor": {"role": "system"}},),
        "a huge text": ("a" * _HUGE,),
        "huge and of the right shape": (document | {"name": "approve_milestone", "id": "a" * _HUGE},),
        "nested without end": (raw(b"[" * 100_000),),
        "lists of lists": ([[[[[None]]]]],),
        "not closed": (raw(b'{"name":'),),
        "no text": (raw(b'"\xff\xfe"'),),
        "an encoding of no name": (raw(b"{}", encoding=b""),),
        "an encoding that is no text": (raw(b"{}", encoding=b"\xff"),),
        "of another program's type": (raw(b"{}", encoding=b"json/protobuf", messageType=b"google.protobuf.Any"),),
        "encrypted, and then damaged": (await encrypted(ours, damage=True),),
        "encrypted with a key of the same name": (await encrypted(namesake, damage=False),),
        "said to be encrypted": (raw(b"abc", encoding=b"binary/encrypted"),),
        "encrypted nonsense": (await encrypted(ours, damage=False, document=b"\x00"),),
        "many": tuple(range(50)),
        **fields,
    }  # fmt: skip


class InClear(EncryptedPayloads):
    """Encrypts nothing, so that the test is what a stranger sends; reads what we answer, to see that it is a no."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Leave them as they are."""
        return list(payloads)


async def stranger(scene: Scene, escrow: Escrow) -> WorkflowHandle[Any, Any]:
    """The escrow's workflow for somebody who reaches Temporal and has no key: what they send is not encrypted."""
    converter = replace(data_converter(scene.keys), payload_codec=InClear(scene.keys))
    client = await Client.connect(**where(scene.servers.endpoints), data_converter=converter)
    return client.get_workflow_handle(scene.handle(escrow).id)


async def unharmed(scene: Scene, escrow: Escrow) -> None:
    """Nothing has moved, and the next good command is taken."""
    before = scene.market.escrow(escrow)
    assert (before.state, before.released, before.version) == (escrow.state, 0, escrow.version)
    assert (await scene.do(ApproveMilestone, escrow)).released == 150000
    events = (await scene.handle(escrow).fetch_history()).events
    failed = [one.workflow_task_failed_event_attributes for one in events if one.event_type == _FAILED]
    # The server breaks a task off when more came meanwhile than it buffers, and gives it anew: no failure of ours.
    assert [one for one in failed if one.cause != _BROKEN_OFF] == []
    assert "WORKFLOW_TASK_TIMED_OUT" not in await scene.history(escrow)
    assert await scene.status(escrow) == WorkflowExecutionStatus.RUNNING


async def test_whatever_comes_as_a_signal_does_no_harm(scene: Scene) -> None:
    """All of it to one escrow, under names of commands and others."""
    escrow, other = await scene.at(State.MILESTONE_PENDING), await scene.at(State.MILESTONE_PENDING)
    handle = await stranger(scene, escrow)
    messages = await strange(scene, escrow, other)
    for arguments in messages.values():
        await handle.signal("approve_milestone", args=list(arguments))
    for name in ("__temporal_x", "run", "advance_clock", "snapshot", "look_again", "x" * 900, "approve_milestone\x00"):
        await handle.signal(name, args=[1, 2])

    async def all_came() -> bool:
        return (await scene.history(escrow)).count("WORKFLOW_EXECUTION_SIGNALED") >= len(messages)

    await soon(all_came)
    await unharmed(scene, escrow)


async def test_whatever_comes_as_an_update_is_refused_to_its_sender(scene: Scene) -> None:
    """Nobody waits for an answer that never comes, and the history does not grow by what a validator can refuse."""
    escrow, other = await scene.at(State.MILESTONE_PENDING), await scene.at(State.MILESTONE_PENDING)
    taken, handle = [], await stranger(scene, escrow)
    for what, arguments in (await strange(scene, escrow, other)).items():
        try:
            await handle.execute_update("approve_milestone", args=list(arguments), id=new_id("cmd"))
            taken.append(what)
        except WorkflowUpdateFailedError:
            continue
    assert not taken
    await unharmed(scene, escrow)


async def test_a_query_with_anything_in_it_is_answered_or_refused(scene: Scene) -> None:
    """It changes nothing by definition."""
    escrow = await scene.at(State.MILESTONE_PENDING)
    handle = await stranger(scene, escrow)
    assert isinstance(await scene.handle(escrow).query("snapshot"), dict)
    for name in ("nothing", "__stack_trace\x00", "x" * 900):
        with pytest.raises(Exception, match=r".") as raised:
            await handle.query(name, args=[1, None])
        assert type(raised.value).__name__ in {"WorkflowQueryFailedError", "RPCError"}
    await unharmed(scene, escrow)
