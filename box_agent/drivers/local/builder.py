"""`Builder`: the box in which a step of an environment runs, be it a command or pip."""

from __future__ import annotations

from typing import Any

from box_agent.box.box import Box
from box_agent.box.skill import skill


class Builder(Box):
    @skill
    def carry_out(self, command: str, timeout_s: float) -> dict[str, Any]:
        """Its exit code and the end of its output. Raises `DeadlineExceeded`."""
        done = self.run(command, timeout_s=timeout_s)
        return {"exit_code": done.exit_code, "output": done.output}
