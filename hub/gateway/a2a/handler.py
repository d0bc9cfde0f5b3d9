"""The verbs of A2A over the task service.

The SDK's default handler keeps running tasks and their event queues in memory; ours has no state at all. A
task lives in the store, a stream is a view of its numbered updates, so a client's connection never owns a
task, any replica answers, and a restart of the gateway is not noticed beyond the broken connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING

from a2a.server.context import ServerCallContext
from a2a.server.events.event_queue import Event
from a2a.server.request_handlers.request_handler import RequestHandler, validate_request_params
from a2a.types import a2a_pb2 as pb
from a2a.utils.errors import (
    InvalidParamsError,
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)

from hub.gateway.a2a import translate
from schemas.box import LiveBox
from schemas.errors import BoxNotFound, IdempotencyConflict, InvalidInput, TaskNotFound, TerminalState
from schemas.ids import check_name
from schemas.task import TaskRecord, TaskSpec

if TYPE_CHECKING:
    from hub.services.tasks import TaskService

_PAGE = 50
_PAGE_LIMIT = 100


class TaskHandler(RequestHandler):
    """One agent's verbs. ``box`` gives the agent's record as it is now, or raises `BoxNotFound`."""

    def __init__(
        self,
        address: str,
        tasks: TaskService,
        box: Callable[[str], Awaitable[LiveBox]],
        card: Callable[[], Awaitable[pb.AgentCard]],
    ) -> None:
        self._address = address
        self._tasks = tasks
        self._box = box
        self._card = card

    @validate_request_params
    async def on_message_send(self, params: pb.SendMessageRequest, context: ServerCallContext) -> pb.Task | pb.Message:
        """Blocks until the task is terminal or interrupted, unless the client said ``return_immediately``."""
        record = await self._submit(params)
        if not params.configuration.return_immediately:
            async for update in self._tasks.task_updates(record.id, after=0):
                if update.state in ("input_required", "auth_required"):
                    break
            record = await self._read(record.id)
        return translate.task_to_pb(record, history_length=_history_length(params.configuration))

    @validate_request_params
    async def on_message_send_stream(
        self, params: pb.SendMessageRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        record = await self._submit(params)
        async for event in self._follow(record):
            yield event

    @validate_request_params
    async def on_subscribe_to_task(
        self, params: pb.SubscribeToTaskRequest, context: ServerCallContext
    ) -> AsyncGenerator[Event]:
        record = await self._read(params.id)
        if record.terminal:
            raise UnsupportedOperationError(f"task {record.id!r} has ended ({record.state}); read it with GetTask")
        async for event in self._follow(record):
            yield event

    @validate_request_params
    async def on_get_task(self, params: pb.GetTaskRequest, context: ServerCallContext) -> pb.Task | None:
        return translate.task_to_pb(await self._read(params.id), history_length=_history_length(params))

    @validate_request_params
    async def on_list_tasks(self, params: pb.ListTasksRequest, context: ServerCallContext) -> pb.ListTasksResponse:
        size = params.page_size or _PAGE
        if not 1 <= size <= _PAGE_LIMIT:
            raise InvalidParamsError(f"page_size is {size}, 1 to {_PAGE_LIMIT} are allowed")
        found = await self._tasks.task_list(box=self._address, state=translate.state_name(params.status), limit=10_000)
        if params.context_id:
            found = [r for r in found if translate.context_of(r) == params.context_id]
        found.sort(key=lambda r: (-r.updated_at, r.id))
        start = next((i + 1 for i, r in enumerate(found) if r.id == params.page_token), 0) if params.page_token else 0
        page = found[start : start + size]
        more = start + size < len(found)
        return pb.ListTasksResponse(
            tasks=[
                translate.task_to_pb(r, history_length=_history_length(params), artifacts=params.include_artifacts)
                for r in page
            ],
            next_page_token=page[-1].id if more else "",
            page_size=size,
            total_size=len(found),
        )

    @validate_request_params
    async def on_cancel_task(self, params: pb.CancelTaskRequest, context: ServerCallContext) -> pb.Task | None:
        """Asks for the cancel and waits until it is proved, so ``canceled`` in the answer is true."""
        record = await self._read(params.id)
        if record.terminal:
            raise TaskNotCancelableError(f"task {record.id!r} has ended ({record.state})")
        try:
            await self._tasks.task_cancel(record.id, reason="asked over A2A")
        except TerminalState as error:
            raise TaskNotCancelableError(error.message) from error
        async for _ in self._tasks.task_updates(record.id, after=record.updates):
            pass
        return translate.task_to_pb(await self._read(record.id))

    async def on_get_extended_agent_card(
        self, params: pb.GetExtendedAgentCardRequest, context: ServerCallContext
    ) -> pb.AgentCard:
        return await self._card()

    async def on_create_task_push_notification_config(
        self, params: pb.TaskPushNotificationConfig, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        raise PushNotificationNotSupportedError

    async def on_get_task_push_notification_config(
        self, params: pb.GetTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> pb.TaskPushNotificationConfig:
        raise PushNotificationNotSupportedError

    async def on_list_task_push_notification_configs(
        self, params: pb.ListTaskPushNotificationConfigsRequest, context: ServerCallContext
    ) -> pb.ListTaskPushNotificationConfigsResponse:
        raise PushNotificationNotSupportedError

    async def on_delete_task_push_notification_config(
        self, params: pb.DeleteTaskPushNotificationConfigRequest, context: ServerCallContext
    ) -> None:
        raise PushNotificationNotSupportedError

    async def _submit(self, params: pb.SendMessageRequest) -> TaskRecord:
        """The message's own id makes the task's, so a client that sends twice after a timeout gets one task."""
        message = params.message
        if message.task_id:
            record = await self._read(message.task_id)
            raise UnsupportedOperationError(f"task {record.id!r} is {record.state} and takes no further message")
        try:
            box = await self._box(self._address)
            skill, arguments = translate.skill_and_arguments(message, box)
            spec = TaskSpec(
                id=_task_id(message.message_id),
                box=self._address,
                skill=skill,
                arguments=arguments,
                message=translate.message_from_pb(message),
                context=message.context_id,
            )
            return await self._tasks.task_submit(spec)
        except (InvalidInput, IdempotencyConflict, BoxNotFound) as error:
            raise InvalidParamsError(error.message) from error

    async def _follow(self, record: TaskRecord) -> AsyncGenerator[Event]:
        """The task as it is, then every later update, then its artifacts and the final state."""
        yield translate.task_to_pb(record, artifacts=False)
        async for update in self._tasks.task_updates(record.id, after=record.updates):
            if update.kind == "state" and update.state == "completed":
                done = await self._read(record.id)
                if done.result is not None:
                    artifact = translate.result_artifact(done.id, done.result)
                    yield pb.TaskArtifactUpdateEvent(
                        task_id=done.id, context_id=translate.context_of(done), artifact=artifact, last_chunk=True
                    )
            yield translate.update_to_pb(update, record)

    async def _read(self, task: str) -> TaskRecord:
        try:
            record = await self._tasks.task_get(task)
        except (TaskNotFound, InvalidInput) as error:
            raise TaskNotFoundError(error.message) from error
        if record.spec.box != self._address:
            raise TaskNotFoundError(f"agent {self._address!r} has no task {task!r}")
        return record


def _task_id(message_id: str) -> str:
    """A2A clients choose message ids freely (usually a UUID); ours become addresses, so the rule for names holds."""
    return check_name(f"a2a-{message_id}".lower(), "message id")


def _history_length(params: pb.SendMessageConfiguration | pb.GetTaskRequest | pb.ListTasksRequest) -> int | None:
    return params.history_length if params.HasField("history_length") else None
