"""The reviewer: gets the winning diff by direct message and says what it thinks of it."""

from __future__ import annotations

from box_agent.agent import Agent
from box_agent.bus.received import Message
from examples.repair.run import PLANNER, Review, ReviewRequest
from schemas.conversation import Turn
from schemas.part import Part

_LARGE_DIFF = 20


class Reviewer:
    """Checks what a search cannot: that the tests were not bent, and that the repair is small."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    async def subscribe(self) -> None:
        await self.agent.on_message(self._on_request)

    async def _on_request(self, message: Message) -> None:
        request = ReviewRequest.model_validate(message.data)
        review = review_diff(request)
        text = ("approved" if review.approved else "not approved") + "".join(f"; {r}" for r in review.remarks)
        turn = Turn(role="assistant", author=self.agent.address, parts=[Part(text=text)])
        await self.agent.conversations.append(request.conversation, [turn])
        await self.agent.send_message(PLANNER, review.wire(), id=f"{request.run}-review", correlation_id=request.run)


def review_diff(request: ReviewRequest) -> Review:
    """A verdict on a unified diff: no test file touched, few lines, nothing only deleted."""
    files = [line[6:].strip() for line in request.diff.splitlines() if line.startswith("+++ b/")]
    body = [line for line in request.diff.splitlines() if not line.startswith(("+++", "---"))]
    added, removed = (sum(line.startswith(sign) for line in body) for sign in "+-")
    tests = {test.partition("::")[0] for test in request.failing}
    remarks = [f"changes {', '.join(files)}: {added} line(s) added, {removed} removed"]
    bent = sorted(f for f in files if f in tests or f.rpartition("/")[2].startswith(("test_", "conftest")))
    if bent:
        remarks.append(f"changes the tests themselves: {', '.join(bent)}")
    if removed and not added:
        remarks.append("only removes code; make sure nothing untested went with it")
    if added + removed > _LARGE_DIFF:
        remarks.append("larger than one bug usually needs")
    return Review(run=request.run, approved=not bent and bool(files), remarks=remarks)
