"""Every error the platform raises, as one small tree.

An error says what went wrong, with which thing, and how to mend it. It has a stable ``code`` (what
programs compare), a ``retryable`` flag (the same request may succeed later, unchanged) and JSON-able
``details``. It survives the wire: `to_info` on one side, `error_from_info` on the other give back the
same class. `hub` maps the classes to REST, A2A and exit codes in one table.
"""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field


class ErrorInfo(BaseModel):
    """An error as it goes over the wire and into records."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    code: str
    message: str
    retryable: bool = False
    details: dict[str, Any] = Field(default_factory=dict)


class BoxhubError(Exception):
    """Root of the tree; catch it to catch everything the platform raises on purpose."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def to_info(self) -> ErrorInfo:
        return ErrorInfo(code=self.code, message=self.message, retryable=self.retryable, details=self.details)

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (error_from_info, (self.to_info(),))


# --- what came in is wrong: the caller must change it ------------------------------------------------------


class InvalidInput(BoxhubError):
    """The request is malformed; sending it again unchanged cannot help."""

    code = "invalid_input"


class MalformedEnvelope(InvalidInput):
    """Bytes on the bus that are not one of our CloudEvents envelopes."""

    code = "malformed_envelope"


class InvalidSubject(InvalidInput):
    """A name that cannot be a subject token, or a subject that is none of ours."""

    code = "invalid_subject"


class InvalidArguments(InvalidInput):
    """A skill was called with arguments its schema refuses; ``details["errors"]`` lists them."""

    code = "invalid_arguments"


class PayloadTooLarge(InvalidInput):
    """More bytes than the bus, or a limit in the settings, lets through."""

    code = "payload_too_large"


class CompositionConflict(InvalidInput):
    """``a + b`` would be ambiguous; the message names both sides and the cure."""

    code = "composition_conflict"


# --- what was asked for is not there -------------------------------------------------------------------------


class NotFound(BoxhubError):
    """The named thing does not exist (or is not visible to this tenant)."""

    code = "not_found"


class BoxNotFound(NotFound):
    """Nobody listens at that address now; durable messages would still be stored for it."""

    code = "box_not_found"


class SkillNotFound(NotFound):
    """The box is there and has no such skill; ``details["skills"]`` lists what it has."""

    code = "skill_not_found"


class TaskNotFound(NotFound):
    code = "task_not_found"


class BranchNotFound(NotFound):
    code = "branch_not_found"


class WorkspaceNotFound(NotFound):
    code = "workspace_not_found"


class ConversationNotFound(NotFound):
    code = "conversation_not_found"


class BlobNotFound(NotFound):
    code = "blob_not_found"


# --- somebody else was there first ------------------------------------------------------------------------------


class Conflict(BoxhubError):
    """The state moved, or is final; read it again before deciding."""

    code = "conflict"


class AlreadyExists(Conflict):
    """A record with that key, or that unique field, is already stored."""

    code = "already_exists"


class RevisionConflict(Conflict):
    """Compare-and-set lost: ``details`` has ``expected`` and ``actual`` revision (``None``: absent)."""

    code = "revision_conflict"


class MergeConflict(Conflict):
    """A commit met changes on the same paths; nothing was written.

    ``details["paths"]`` lists the first hundred of ``details["total"]``; ``details["conflicts"]`` says of each what
    kind it is and what base, ours (the branch) and theirs (the target) have there: hash, size, mode, name.
    """

    code = "merge_conflict"


class ValidationFailed(Conflict):
    """The merged files were refused by the commit's validator; nothing was published and the branch is open."""

    code = "validation_failed"


class StaleAttempt(Conflict):
    """A write with an old fencing number: the task has moved on to another attempt."""

    code = "stale_attempt"


class TerminalState(Conflict):
    """The task or branch has ended; ended things never change."""

    code = "terminal_state"


class Superseded(TerminalState):
    """Another branch of the same race was committed first; ``details["winner"]`` is its id."""

    code = "superseded"


class IdempotencyConflict(Conflict):
    """The same client-supplied id came again with other content."""

    code = "idempotency_conflict"


# --- the platform cannot do it now ----------------------------------------------------------------------------------


class Unavailable(BoxhubError):
    """A part that should answer does not; the same request may succeed later."""

    code = "unavailable"
    retryable = True


class BusUnavailable(Unavailable):
    """No connection to nats-server, or it did not confirm in time."""

    code = "bus_unavailable"


class CallLost(Unavailable):
    """Whoever took the call does not know of it any more: restarted, or cut off. It may have been carried out."""

    code = "call_lost"


class StoreUnavailable(Unavailable):
    """The document store or the blob store cannot be reached."""

    code = "store_unavailable"


class Overloaded(Unavailable):
    """A bound was met (queue, concurrency, rate); slow down and try again."""

    code = "overloaded"


class NoCapacity(Unavailable):
    """No node can take the box now; ``details["reasons"]`` says why for each node."""

    code = "no_capacity"


class DriverUnavailable(BoxhubError):
    """The demanded driver, isolation or branching cannot be had on this machine; the message says why."""

    code = "driver_unavailable"


class LimitExceeded(BoxhubError):
    """A box ran into one of its limits; ``details["limit"]`` names which."""

    code = "limit_exceeded"


# --- the work itself went wrong ------------------------------------------------------------------------------------


class DeadlineExceeded(BoxhubError):
    """The time the caller gave ran out; ``details["timeout"]`` says which timeout, with seconds."""

    code = "deadline_exceeded"
    retryable = True


class Cancelled(BoxhubError):
    """Somebody asked for it to stop, and it stopped."""

    code = "cancelled"


class SkillFailed(BoxhubError):
    """The skill's own code raised; ``details`` has ``type``, ``traceback``, and ``box`` and ``skill``."""

    code = "skill_failed"


class HandlerFailed(BoxhubError):
    """A message or event handler raised; ``details`` has ``type`` and ``traceback``."""

    code = "handler_failed"


class BoxDied(BoxhubError):
    """The process of the box ended while it was working; ``details`` has ``exit_code`` or ``signal``."""

    code = "box_died"
    retryable = True


class AttemptLost(BoxhubError):
    """The runner stopped renewing its lease: it died, or was cut off."""

    code = "attempt_lost"
    retryable = True


class IntegrityError(BoxhubError):
    """Stored bytes do not match their hash."""

    code = "integrity_error"


class PermissionDenied(BoxhubError):
    """Known, and not allowed."""

    code = "permission_denied"


class Unauthenticated(BoxhubError):
    """No, or a wrong, credential."""

    code = "unauthenticated"


def _tree(root: type[BoxhubError]) -> dict[str, type[BoxhubError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


ERRORS_BY_CODE: dict[str, type[BoxhubError]] = _tree(BoxhubError)
"""Every error class by its code; codes are unique, a test holds that."""


def error_from_info(info: ErrorInfo) -> BoxhubError:
    """The error a peer sent. A code this version does not know becomes a plain `BoxhubError` that keeps it."""
    error = ERRORS_BY_CODE.get(info.code, BoxhubError)(info.message)
    error.details = dict(info.details)
    if info.code != error.code:
        error.details.setdefault("code", info.code)
    return error
