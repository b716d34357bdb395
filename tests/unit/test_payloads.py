"""What Temporal stores is encrypted, read by whoever has the key, and believed of activities only when it is ours."""

import asyncio
from typing import Any, Final

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import ActivitySerializationContext, DataConverter, WorkflowSerializationContext
from temporalio.exceptions import ApplicationError

from ledger.keyring import Keyring, UnknownKeyError
from models.commands import SYSTEM, Cancel
from starter.payloads import ENCODING, EncryptedPayloads, ForeignPayloadError, data_converter, read_keyring
from tests.builders import new_id

OLD: Final = Keyring({"k1": bytes(32)})
NEW: Final = Keyring({"k2": bytes(range(32)), "k1": bytes(32)})
COMMAND: Final = Cancel(id="cmd", escrow=new_id("esc"), actor=SYSTEM)


def of_activity(workflow: str, *, local: bool = False) -> ActivitySerializationContext:
    """Where an activity of a workflow gets its arguments."""
    return ActivitySerializationContext(
        namespace="default",
        activity_id="1",
        activity_type="transfer",
        activity_task_queue="q",
        workflow_id=workflow,
        workflow_type="PayoutWorkflow",
        is_local=local,
    )


def encoded(converter: DataConverter, value: Any = COMMAND) -> Payload:
    """One value as it goes to Temporal."""
    return asyncio.run(converter.encode([value]))[0]


def decoded(converter: DataConverter, payload: Payload) -> Any:
    """The value that comes from Temporal."""
    return asyncio.run(converter.decode([payload], [Cancel]))[0]


def test_what_is_stored_cannot_be_read_and_comes_back_whole() -> None:
    """Neither the values nor their encoding show; the key's id does, for whoever looks for a lost key."""
    payload = encoded(data_converter(OLD))
    assert COMMAND.escrow.encode() not in payload.SerializeToString()
    assert dict(payload.metadata) == {"encoding": ENCODING, "encryption-key-id": b"k1"}
    assert decoded(data_converter(OLD), payload) == COMMAND
    assert encoded(data_converter(OLD)).data != payload.data


def test_a_new_key_encrypts_and_an_old_one_is_still_understood() -> None:
    """Keys are changed without touching what is stored."""
    assert decoded(data_converter(NEW), encoded(data_converter(OLD))) == COMMAND
    assert encoded(data_converter(NEW)).metadata["encryption-key-id"] == b"k2"


def test_what_was_stored_before_there_was_encryption_is_read() -> None:
    """Histories of earlier versions go on."""
    assert decoded(data_converter(OLD), encoded(pydantic_data_converter)) == COMMAND
    assert data_converter(None) is pydantic_data_converter


def test_a_missing_key_is_an_error_and_damage_is_passed_on() -> None:
    """A worker that lacks a key tries again; what a stranger made up cannot stop one."""
    payload = encoded(data_converter(NEW))
    with pytest.raises(UnknownKeyError, match="k2"):
        decoded(data_converter(OLD), payload)
    codec = EncryptedPayloads(NEW)
    for data in (b"", b"x", payload.data[:-1] + b"\x00", payload.data[:20], b"\x02k1" + bytes(60)):
        damaged = Payload(metadata=payload.metadata, data=data)
        assert asyncio.run(codec.decode([damaged])) == [damaged]


def test_an_activity_believes_only_what_was_encrypted_for_its_workflow() -> None:
    """Not plain text, not what was encrypted elsewhere, not what another workflow's activity got; and the reverse."""
    whole = data_converter(OLD)
    mine, others = whole.with_context(of_activity("payout:1")), whole.with_context(of_activity("payout:2"))
    elsewhere = whole.with_context(WorkflowSerializationContext(namespace="default", workflow_id="payout:1"))
    assert decoded(mine, encoded(mine)) == COMMAND
    moved = encoded(others)
    moved.metadata["holdfast-place"] = b"activity of payout:1"
    for foreign in (pydantic_data_converter, elsewhere, others):
        with pytest.raises(ForeignPayloadError):
            decoded(mine, encoded(foreign))
    with pytest.raises(ForeignPayloadError):
        decoded(mine, moved)
    assert decoded(whole, encoded(mine)) == COMMAND  # whoever reads a history sees it


def test_a_local_activity_reads_histories_of_earlier_versions() -> None:
    """Nobody can start one from outside, and old histories have their results in plain text."""
    local = data_converter(OLD).with_context(of_activity("escrow:1", local=True))
    assert decoded(local, encoded(pydantic_data_converter)) == COMMAND


def test_messages_of_errors_are_encrypted_too() -> None:
    """The type of an error stays readable: it is a code. Its message and its details do not."""
    converter, failure = data_converter(OLD), Failure()
    error = ApplicationError("bob has no money", {"wallet": "of bob"}, type="payment_required", non_retryable=True)
    asyncio.run(converter.encode_failure(error, failure))
    assert b"bob" not in failure.SerializeToString()
    assert failure.application_failure_info.type == "payment_required"
    back = asyncio.run(converter.decode_failure(failure))
    assert isinstance(back, ApplicationError)
    assert (back.message, back.details) == ("bob has no money", ({"wallet": "of bob"},))


def test_without_keys_the_variable_is_named_and_how_to_make_one() -> None:
    """And what is wrong with keys that are none, without repeating them."""
    with pytest.raises(ValueError, match=r"HOLDFAST_KEYS must be set.*openssl rand -base64 32"):
        read_keyring(None)
    with pytest.raises(ValueError, match=r"HOLDFAST_KEYS: key 1 .*openssl") as raised:
        read_keyring("k1:tooshort")
    assert "tooshort" not in str(raised.value)
