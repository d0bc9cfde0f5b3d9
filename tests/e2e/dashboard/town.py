"""A made-up installation, alive: the state the feed reads, moving as a repair job over many boxes would.

Stands where the hub's services stand (`hub.dashboard.observed`), so that the page can be driven at sizes and
speeds that a test machine could not run for real. The feed, the sockets and the bus it is shown with are real.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import Any

from schemas.box import BoxDefinition, LiveBox, SkillSpec
from schemas.branch import Branch, Workspace
from schemas.conversation import Conversation, ToolCall, Turn
from schemas.deadletter import DeadLetter
from schemas.errors import BranchNotFound, ErrorInfo, TaskNotFound
from schemas.ids import new_id
from schemas.node import DriverInfo, NodeInfo
from schemas.part import Part
from schemas.task import Attempt, Cancellation, TaskRecord, TaskSpec, TaskState, TaskUpdate
from schemas.tree import blob_hash

DEFINITION = BoxDefinition(name="pytest-runner")
MUTATIONS = ("compare", "off-by-one", "operator", "slice", "negate", "return", "swap-args", "base-case")
FILES = ("intervals.py", "calendar.py", "search/index.py", "search/rank.py", "money.py")
RUNNER_SKILLS = [SkillSpec(name="run_tests", timeout_s=20), SkillSpec(name="coverage", streaming=True)]


@dataclass(frozen=True)
class TownSettings:
    nats_url: str
    tenants: tuple[str, ...] = ("default",)


@dataclass
class Town:
    """``boxes`` live boxes over four nodes; `step` moves tasks and branches on by a tick."""

    nats_url: str
    boxes_wanted: int = 1000
    seed: int = 7
    parallel: int = 4
    box_records: dict[str, LiveBox] = field(default_factory=dict)
    node_records: dict[str, NodeInfo] = field(default_factory=dict)
    task_records: dict[str, TaskRecord] = field(default_factory=dict)
    task_history: dict[str, list[TaskUpdate]] = field(default_factory=dict)
    branch_records: dict[str, Branch] = field(default_factory=dict)
    workspace_records: dict[str, Workspace] = field(default_factory=dict)
    conversation_records: dict[str, Conversation] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    dead: dict[int, DeadLetter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.settings = TownSettings(self.nats_url)
        self._count = 0
        self._due: dict[str, float] = {}
        self.moved: set[str] = set()
        """Tasks written since somebody last looked; a hub tells its replicas of them."""
        self.done: list[tuple[str, Any]] = []
        """(skill, result) of what agents asked the hub for since somebody last looked."""

    # --- where the hub's services stand ---------------------------------------------------------------------------

    def services(self, tenant: str) -> Town:
        return self

    @property
    def registry(self) -> Town:
        return self

    @property
    def tasks(self) -> Town:
        return self

    @property
    def workspaces(self) -> Town:
        return self

    async def boxes(self) -> list[LiveBox]:
        return list(self.box_records.values())

    async def nodes(self) -> list[NodeInfo]:
        return list(self.node_records.values())

    async def task_get(self, id: str) -> TaskRecord:
        if id not in self.task_records:
            raise TaskNotFound(f"no task {id!r}")
        return self.task_records[id]

    async def task_list(self, *, state: TaskState | None = None, limit: int = 100) -> list[TaskRecord]:
        found = [t for t in self.task_records.values() if state in (None, t.state)]
        return sorted(found, key=lambda t: -t.created_at)[:limit]

    async def task_updates(self, id: str, after: int = 0) -> list[TaskUpdate]:
        return [u for u in self.task_history.get(id, []) if u.number > after]

    async def task_cancel(self, id: str, reason: str = "") -> TaskRecord:
        task = await self.task_get(id)
        if not task.terminal:
            now = time.time()
            task.cancel = Cancellation(requested_at=now, by="operator", reason=reason)
            task.cancel.acknowledged_at = now
            self._end(task, "canceled", now)
        return task

    async def workspace_list(self) -> list[Workspace]:
        return list(self.workspace_records.values())

    async def branch_list(self, *, limit: int = 1000, **_: Any) -> list[Branch]:
        return sorted(self.branch_records.values(), key=lambda b: -b.created_at)[:limit]

    async def branch_get(self, id: str) -> Branch:
        if id not in self.branch_records:
            raise BranchNotFound(f"no branch {id!r}")
        return self.branch_records[id]

    # --- the world ------------------------------------------------------------------------------------------------

    def settle(self, past_s: float = 90.0) -> None:
        """Fill it with boxes and with what happened in the last ``past_s`` seconds."""
        now = time.time()
        self._people(now, past_s)
        self._workspace(now - past_s)
        self._talk(now - past_s)
        self._letters(now)
        at = now - past_s
        while at < now:
            at += self.random.uniform(0.1, 0.4)
            self.step(min(at, now))

    def step(self, now: float) -> None:
        """End what is due, start what there is room for."""
        running = [t for t in self.task_records.values() if t.state == "working"]
        for task in running:
            if self._due[task.id] <= now:
                self._finish(task, now)
        waiting = [t for t in self.task_records.values() if t.state == "submitted" and t.not_before <= now]
        free = self.parallel - sum(t.state == "working" for t in self.task_records.values())
        for task in waiting[: max(0, free)]:
            self._begin(task, now)
        if len(waiting) < 3:
            self._candidate(now)
        for box in self.random.sample(sorted(self.box_records), k=min(20, len(self.box_records))):
            self.box_records[box].calls = self.random.randint(0, 3)
            self.box_records[box].heartbeat_at = now

    def _people(self, now: float, past_s: float) -> None:
        for name in ("planner", "coder-1", "coder-2", "coder-3", "reviewer"):
            skills = [SkillSpec(name="review" if name == "reviewer" else "propose")]
            self.box_records[name] = LiveBox(
                id=name,
                kind="attached",
                instance=new_id("i"),
                started_at=now - past_s - 20,
                heartbeat_at=now,
                skills=skills,
            )
        drivers = [
            DriverInfo(name="local", isolation="namespace", branching="fs", loopback=True, mounts=True),
            DriverInfo(name="process", isolation="none", branching="fs", loopback=True),
            DriverInfo(name="microvm", isolation="vm", branching="live", available=False, reason="needs /dev/kvm"),
        ]
        for i, node in enumerate(("anvil", "bellows", "crucible", "drift")):
            share = self.boxes_wanted // 4 + (i < self.boxes_wanted % 4)
            self.node_records[node] = NodeInfo(
                name=node,
                instance=new_id("i"),
                state="draining" if node == "drift" else "ready",
                drivers=drivers,
                cpus=(8, 8, 16, 4)[i],
                memory_bytes=(16, 16, 64, 8)[i] << 30,
                max_boxes=300,
                max_attempts=16,
                boxes=share,
                labels={"zone": "eu-1" if i < 2 else "eu-2"},
                started_at=now - 7200 * (i + 1),
                heartbeat_at=now,
            )
            self.box_records[f"_node-{node}"] = LiveBox(
                id=f"_node-{node}", kind="system", node=node, started_at=now - 7200 * (i + 1), heartbeat_at=now
            )
            for number in range(share):
                name = self.random.choice(("pytest-runner", "pytest-runner", "indexer", "browser", "ocr"))
                state = self.random.choices(("ready", "starting", "failed"), (96, 3, 1))[0]
                box = LiveBox(
                    id=f"{name}-{node[0]}{number:03d}",
                    kind="live",
                    box=name,
                    node=node,
                    driver="local",
                    isolation="namespace",
                    reaches="127.0.0.1:8080; reads /srv/menus" if name == "browser" else "no network",
                    instance=new_id("i"),
                    state=state,
                    branching="fs",
                    owner="planner",
                    skills=RUNNER_SKILLS,
                    reason="exited with 137 (out of memory)" if state == "failed" else "",
                    pid=4000 + number,
                    started_at=now - self.random.uniform(1, 4000),
                    heartbeat_at=now,
                    fingerprint=blob_hash(name.encode())[:12],
                )
                self.box_records[box.id] = box

    def _workspace(self, at: float) -> None:
        root = Branch(id=new_id("branch"), workspace="", name="main", owner="planner", created_at=at)
        workspace = Workspace(id=new_id("ws"), name="intervals", root=root.id, owner="planner", created_at=at)
        root.workspace = workspace.id
        self.branch_records[root.id] = root
        self.workspace_records[workspace.id] = workspace
        self._race = new_id("group")
        self._committed = 0

    @property
    def root(self) -> Branch:
        return self.branch_records[next(iter(self.workspace_records.values())).root]

    def _candidate(self, now: float) -> None:
        """Fork a branch for one candidate fix and submit its test run."""
        self._count += 1
        mutation, file = self.random.choice(MUTATIONS), self.random.choice(FILES)
        parent = self.root
        nested = [b for b in self.branch_records.values() if b.state == "open" and b.parent == parent.id]
        if nested and self.random.random() < 0.15:
            parent = self.random.choice(nested)
        branch = Branch(
            id=new_id("branch"),
            workspace=self.root.workspace,
            name=f"{mutation}-{self._count}",
            parent=parent.id,
            base=parent.head,
            head=blob_hash(f"{self._count}".encode()),
            owner="planner",
            group=self._race,
            created_at=now,
            metadata={"file": file, "line": self.random.randint(3, 90), "mutation": mutation},
        )
        self.branch_records[branch.id] = branch
        self.done.append(("branch_fork", [branch.wire()]))
        spec = TaskSpec(box="pytest-runner", skill="run_tests", branch=branch.id, arguments={"timeout_s": 20})
        task = TaskRecord(
            id=new_id("task"),
            tenant="default",
            spec=spec,
            submitter="planner",
            created_at=now,
            updated_at=now,
            pending=f"waiting for a place: {self.parallel} of {self.parallel} attempts run; 2nd in the queue",
        )
        self.task_records[task.id] = task
        self._note(task, now, "state")

    def _begin(self, task: TaskRecord, now: float) -> None:
        number = len(task.attempts) + 1
        node = self.random.choice(("anvil", "bellows", "crucible"))
        box = f"pytest-runner-{new_id('x')[-6:]}"
        attempt = Attempt(
            number=number, runner=f"_node-{node}", state="running", box=box, assigned_at=now, started_at=now + 0.02
        )
        task.attempts = [*task.attempts, attempt]
        task.state, task.pending = "working", ""
        self._due[task.id] = now + self.random.lognormvariate(0.2, 0.7)
        self._note(task, now, "state")
        self._note(task, now, "progress", {"message": "collecting tests"})

    def _finish(self, task: TaskRecord, now: float) -> None:
        luck = self.random.random()
        attempt = task.attempts[-1]
        if luck < 0.06 and attempt.number < 3:
            attempt.state, attempt.ended_at = "lost", now
            attempt.error = ErrorInfo(code="box_died", message="the box was killed by signal 9", retryable=True)
            task.state, task.not_before = "submitted", now + 1.2
            task.pending = "attempt 1 lost its box; the next try starts in 1.2 s"
            self._note(task, now, "state")
        elif luck < 0.14:
            task.error = ErrorInfo(
                code="deadline_exceeded", message="run_tests took longer than attempt_s = 20 s", retryable=True
            )
            self._end(task, "failed", now)
        elif luck < 0.17:
            task.cancel = Cancellation(
                requested_at=now - 0.08,
                by="planner",
                reason="another candidate won",
                acknowledged_at=now - 0.05,
                stopped_at=now,
            )
            self._end(task, "canceled", now)
        else:
            task.result = {"passed": self.random.randint(17, 23), "failed": self.random.randint(1, 7)}
            self._end(task, "completed", now)

    def _end(self, task: TaskRecord, state: TaskState, now: float) -> None:
        if task.attempts and task.attempts[-1].ended_at is None:
            attempt = task.attempts[-1]
            attempt.state, attempt.ended_at, attempt.error = "ended", now, task.error
        task.state, task.pending = state, ""
        self._note(task, now, "state")
        branch = self.branch_records.get(task.spec.branch)
        if branch is not None and branch.state == "open":
            wins = state == "completed" and branch.parent == self.root.id and self.random.random() < 0.02
            branch.state = "committed" if wins else "superseded" if state == "canceled" else "discarded"
            branch.ended_at = now
            self.done.append(("branch_commit", {"branch": branch.id}) if wins else ("branch_discard", branch.wire()))
            if wins:
                self._committed += 1
                branch.committed_tree = self.root.head = branch.head
                self.root.base = branch.base

    def _note(self, task: TaskRecord, now: float, kind: Any, data: Any = None) -> None:
        task.updates += 1
        task.updated_at = now
        self.moved.add(task.id)
        update = TaskUpdate(
            task=task.id,
            number=task.updates,
            at=now,
            kind=kind,
            state=task.state if kind == "state" else None,
            attempt=len(task.attempts),
            data=data,
        )
        self.task_history.setdefault(task.id, []).append(update)

    def _talk(self, at: float) -> None:
        conversation = Conversation(id=new_id("conv"), title="Repair of intervals", created_at=at, updated_at=at + 30)
        lines: list[tuple[Any, str, str]] = [
            (
                "system",
                "planner",
                "Repair the project with the smallest change. Run the tests first.",
            ),
            (
                "user",
                "planner",
                "4 of 23 tests fail. Suspicious: intervals.py:41 (0.91), rank.py:17 (0.66).",
            ),
            (
                "assistant",
                "coder-1",
                "Line 41 compares with `<`; the docstring says closed intervals. I try `<=`.",
            ),
            ("tool", "coder-1", "23 passed in 0.41s"),
            ("assistant", "reviewer", "Minimal, and the docstring agrees. Commit it."),
        ]
        turns: list[Turn] = []
        for i, (role, author, text) in enumerate(lines):
            calls = [ToolCall(call_id="c1", name="run_tests", arguments={"branch": "compare-7"})] if i == 2 else []
            turns.append(
                Turn(
                    parents=[turns[-1].id] if turns else [],
                    depth=i + 1,
                    role=role,
                    author=author,
                    parts=[Part(text=text)],
                    tool_calls=calls,
                    tool_call_id="c1" if role == "tool" else "",
                    created_at=at + i * 6,
                    pinned=i == 0,
                )
            )
        conversation.head, conversation.turns = turns[-1].id, len(turns)
        self.conversation_records[conversation.id] = conversation
        self.turns[conversation.id] = turns
        fork = Conversation(
            id=new_id("conv"),
            title="What if we test the slice first",
            head=turns[2].id,
            turns=3,
            forked_from=conversation.id,
            created_at=at + 40,
            updated_at=at + 40,
        )
        self.conversation_records[fork.id] = fork
        self.turns[fork.id] = turns[:3]

    def _letters(self, now: float) -> None:
        for sequence in (3, 4, 9):
            envelope = {"id": new_id("e"), "source": "/default/planner", "type": "boxhub.message", "specversion": "1.0"}
            cause = ErrorInfo(
                code="handler_failed",
                message="KeyError: 'diff'",
                details={"type": "KeyError", "traceback": "Traceback …"},
            )
            self.dead[sequence] = DeadLetter(
                sequence=sequence,
                box="reviewer",
                subject="default.v1.inbox.reviewer.from.planner",
                handler="on_message",
                envelope=envelope | {"data": {"branch": f"compare-{sequence}"}},
                deliveries=5,
                cause=cause,
                causes=[cause] * 4,
                at=now - sequence * 60,
            )

    async def live(self, period_s: float = 0.2) -> None:
        """Move on until cancelled."""
        while True:
            self.step(time.time())
            await asyncio.sleep(period_s)
