"""What a workflow commanded, with decoded inputs: amounts, durations, names. Replay alone does not compare those."""

import json
import re
from typing import Any

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

_ID = re.compile(r"\b(ten|pty|esc|mil|dsp|set|txn|pay|evt|dln|chg|cmd|cbk)_[0-9a-z]{26}\b")
_RUN = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_ACCOUNT = re.compile(r"\bacct_[0-9a-z]{26}\b")
_PROVIDERS = re.compile(r"\b(pi|tr|ch)_[A-Za-z0-9]{24}\b")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00| UTC)?")
_HOUR = 3600


def fingerprint(history: WorkflowHistory) -> list[str]:
    """One line per command of a workflow, with what differs from run to run masked."""
    lines = (_line(event) for event in history.events)
    return [_masked(line) for line in lines if line]


def _line(event: HistoryEvent) -> str | None:
    match event.event_type:
        case EventType.EVENT_TYPE_TIMER_STARTED:
            seconds = event.timer_started_event_attributes.start_to_fire_timeout.ToSeconds()
            # A story takes seconds between setting a deadline and arming the timer; hours are what was agreed.
            return f"timer {round(seconds / _HOUR)} h"
        case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            activity = event.activity_task_scheduled_event_attributes
            return f"activity {activity.activity_type.name} {_decoded(activity.input)}"
        case EventType.EVENT_TYPE_MARKER_RECORDED:
            marker = event.marker_recorded_event_attributes
            if marker.marker_name == "core_patch":
                return f"patched {_decoded(marker.details['patch-data'])}"
            return f"local activity {_local(marker.details.get('data'))}"
        case EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            child = event.start_child_workflow_execution_initiated_event_attributes
            return f"child {child.workflow_type.name} {child.workflow_id} {_decoded(child.input)}"
        case EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES:
            fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
            values = {name: payload.data.decode() or "unset" for name, payload in sorted(fields.items())}
            return f"search attributes {json.dumps(values)}"
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            return "completed"
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
            return f"continued {_decoded(event.workflow_execution_continued_as_new_event_attributes.input)}"
        case _:
            return None


def _local(data: Payloads | None) -> str:
    document = json.loads(data.payloads[0].data) if data else {}
    return str(document.get("activity_type", document))


def _decoded(payloads: Payloads) -> str:
    documents: list[Any] = [json.loads(payload.data) for payload in payloads.payloads]
    return json.dumps(documents, sort_keys=True)


def _masked(line: str) -> str:
    line = _PROVIDERS.sub(r"<\1>", _ID.sub(r"<\1>", line))
    return _MOMENT.sub("<moment>", _ACCOUNT.sub("<account>", _RUN.sub("<run>", line)))
