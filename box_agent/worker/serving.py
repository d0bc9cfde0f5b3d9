"""The worker: the process in which a box's skills run. One thread reads the socket, the main thread runs skills."""

from __future__ import annotations

import errno
import os
import socket
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from box_agent.box.context import Context
from box_agent.box.program import Program, running
from box_agent.worker import commands
from box_agent.worker.calls import RunningCall
from box_agent.worker.execution import Execution, execution_for
from box_agent.worker.frames import Frame, Wire
from box_agent.worker.interrupt import Interrupts
from box_agent.worker.port import Emitter, Requests, WorkerPort
from schemas.errors import BoxhubError, Overloaded, SkillFailed

MAX_CALLS = 256
"""Waiting and running in one box; the next one is refused."""


class BoxSurroundings:
    """What ``self`` of a skill reaches of its box. Made with the template, pointed at the worker after the fork."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worker: Worker | None = None

    def run(self, command: str, *, timeout_s: float | None = None) -> commands.Completed:
        """A shell command in the box's directory; its output goes to the log of the call that runs it."""
        context, worker = running.get(), self.worker
        if context is None or worker is None:  # in setup()
            return commands.run(command, directory=self.directory, timeout_s=timeout_s)
        return commands.run(
            command,
            directory=self.directory,
            timeout_s=timeout_s,
            on_output=context.log,
            cancelled=lambda: context.cancelled,
            shield=worker.interrupts.shield,
        )


class Worker:
    """Serves one box until its node says stop or goes away. Made in the process's main thread."""

    def __init__(self, sock: socket.socket, box: str, surroundings: BoxSurroundings) -> None:
        self.interrupts = Interrupts()
        self._wire = Wire(sock)
        self._box = box
        self._surroundings = surroundings
        self._requests = Requests(self.send)
        self._emitter = Emitter(self.send)
        self._calls: dict[str, RunningCall] = {}
        self._execution: Execution | None = None
        self._program: Program | None = None
        surroundings.worker = self

    def send(self, frame: Frame) -> None:
        """A whole frame or none. The node being gone ends the process: nobody is left to work for."""
        with self.interrupts.shield():
            try:
                self._wire.send(frame)
            except OSError:
                os._exit(1)

    def run(self, program: Program, late: Sequence[bytes], *, concurrency: int) -> NoReturn:
        """Load ``late`` code and set up what the template could not, say ready, serve. Does not return: it ends."""
        self._program = program
        try:
            for code in late:
                program.add(Program.unpack(code))
            program.start(self._surroundings)
            self._execution = execution_for(program, self.interrupts, self._context, concurrency)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raised, whoever spawned must hear it
            self.send({"t": "failed", "error": setup_error(error).to_info().model_dump(mode="json")})
            os._exit(1)
        self.send({"t": "ready"})
        threading.Thread(target=self._read, name="boxhub-reader", daemon=True).start()
        self._execution.run()
        os._exit(0)

    def rehearse(self, program: Program) -> None:
        """Answer the calls that are there already, of sync skills, as `run` would, without the reading thread."""
        self._program = program
        program.start(self._surroundings)
        self._execution = execution_for(program, self.interrupts, self._context, 1)
        for frame in self._wire.receive():
            self._arrived(frame)
        self._execution.run()

    def _context(self, call: RunningCall) -> Context:
        assert self._program is not None
        return Context(
            WorkerPort(call, self._requests, self._emitter),
            call=call.id,
            address=self._box,
            caller=call.caller,
            skill=call.skill,
            directory=self._surroundings.directory,
            deadline_at=call.deadline_at,
            branch=call.branch,
            conversation=call.conversation,
            task=call.task,
            secrets=self._program.secrets_of(call.skill),
        )

    # --- the reading thread ---------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            for frame in self._wire.receive():
                self._arrived(frame)
        finally:
            os._exit(1)  # the node is gone, or talks nonsense; the keeper ends the rest

    def _arrived(self, frame: Frame) -> None:
        assert self._execution is not None
        match frame["t"]:
            case "call":
                self._accept(RunningCall.of(frame, self._answer))
            case "credit":
                if (call := self._calls.get(frame["id"])) is not None:
                    call.give(frame["n"])
            case "cancel":
                if (call := self._calls.get(frame["id"])) is not None:
                    self._cancel(call)
            case "answer":
                self._requests.answer(frame)
            case "stop":
                for call in list(self._calls.values()):
                    self._cancel(call)
                self._execution.submit(None)

    def _accept(self, call: RunningCall) -> None:
        assert self._execution is not None
        if len(self._calls) >= MAX_CALLS:
            call.fail(Overloaded(f"{self._box}: {len(self._calls)} calls run or wait; try again later", box=self._box))
            return
        self._calls[call.id] = call
        self._execution.submit(call)

    def _cancel(self, call: RunningCall) -> None:
        assert self._execution is not None
        call.cancelled = True
        self._execution.cancel(call)

    def _answer(self, frame: Frame) -> None:
        """Everything of a call goes through here: the last frame of it takes it off the list."""
        self.send(frame)
        if frame["t"] in ("result", "error", "end"):
            self._calls.pop(frame["id"], None)


def setup_error(error: BaseException) -> BoxhubError:
    """What went wrong before the box was ready."""
    if isinstance(error, BoxhubError):
        return error
    text = "".join(traceback.format_exception(error, limit=-20))
    said, details = f"setup: {type(error).__name__}: {error}", {"type": type(error).__name__, "traceback": text}
    if (refused := _read_only(error)) is not None:
        said += (
            f"; setup() cannot write {refused.filename!r}, other boxes stand on that: let it write to its home or the "
            "directory for temporary files, of which every box begins with a copy, or make the file with .run(…)"
        )
        details |= {"type": "ReadOnly", "path": str(refused.filename)}
    return SkillFailed(said, skill="setup", **details)


def _read_only(error: BaseException | None) -> OSError | None:
    """A write to what cannot be written, also when a library said something else of it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EROFS:
            return error
        error = error.__cause__ or error.__context__
    return None
