"""A coder that asks a language model for edits. Joins the team when ``BOXHUB_LLM_URL`` is set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

from box_agent.agent import Agent
from examples.repair.coder import Coder
from examples.repair.config import LlmSettings
from examples.repair.run import Requested
from examples.repair.sources import read_sources
from examples.repair.trial import Edit
from schemas.conversation import Turn
from schemas.part import Part

_INSTRUCTION = """You repair Python programs. Answer with JSON only: a list of at most {n} candidate edits, best first,
each {{"path": "...", "line": 12, "old": "exact text in the file", "new": "replacement", "why": "..."}}.
Do not change tests. Do not repeat what was tried already."""
_AROUND = 6  # lines shown around a suspicious one


class LlmCoder(Coder):
    """The same work as any coder; only where the candidates come from differs."""

    def __init__(self, agent: Agent, settings: LlmSettings) -> None:
        super().__init__(agent)
        self._settings = settings

    async def edits(self, request: Requested) -> Iterator[Edit]:
        """One question with what is known; the answer's edits that fit the files, at their index in the whole team's
        turn order, so that taking every n-th candidate takes all of them."""
        sources = await read_sources(self.agent, request.root, request.sources)
        await self._brief(request, sources)
        prompt = await self.agent.conversations.prompt(
            request.conversation, max_tokens=self._settings.max_tokens, format="openai"
        )
        try:
            answer = await self._ask(prompt["messages"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            await self._say(request, f"the model at {self._settings.url} does not answer as expected: {error}")
            return iter(())  # the rest of the team goes on
        proposed = [edit for row in parse_answer(answer) if (edit := fit(row, sources)) is not None]
        return iter([edit for edit in proposed[: self._settings.proposals] for _ in request.coders])

    async def _brief(self, request: Requested, sources: dict[str, str]) -> None:
        shown: list[str] = []
        for path, line, score in request.ranking[:5]:
            lines = sources[path].splitlines()
            near = range(max(0, line - 1 - _AROUND), min(len(lines), line + _AROUND))
            shown.append(f"{path} (suspicion {score:.2f})\n" + "\n".join(f"{i + 1:4} {lines[i]}" for i in near))
        failures = "\n".join(f"{test}: {text}" for test, text in list(request.failures.items())[:5])
        text = f"Failing tests:\n{failures}\n\nSuspicious code:\n" + "\n\n".join(shown)
        instruction = _INSTRUCTION.format(n=self._settings.proposals)
        await self.agent.conversations.append(
            request.conversation,
            [
                Turn(role="system", author=self.agent.address, parts=[Part(text=instruction)], pinned=True),
                Turn(role="user", author=self.agent.address, parts=[Part(text=text)], pinned=True),
            ],
        )

    async def _say(self, request: Requested, text: str) -> None:
        turn = Turn(role="assistant", author=self.agent.address, parts=[Part(text=text)])
        await self.agent.conversations.append(request.conversation, [turn])

    async def _ask(self, messages: list[dict[str, Any]]) -> str:
        key = self._settings.key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient(timeout=self._settings.timeout_s, headers=headers) as http:
            body = {"model": self._settings.model, "messages": messages, "temperature": 0.2}
            response = await http.post(f"{self._settings.url.rstrip('/')}/chat/completions", json=body)
            response.raise_for_status()
            content = response.json()["choices"][0]["message"]["content"]
        return str(content)


def parse_answer(text: str) -> list[dict[str, Any]]:
    """The edits in an answer, which may be wrapped in prose or a code fence; none when there is no JSON list."""
    start, end = text.find("["), text.rfind("]")
    try:
        rows = json.loads(text[start : end + 1]) if 0 <= start < end else []
    except ValueError:
        return []
    return [row for row in rows if isinstance(row, dict)]


def fit(row: dict[str, Any], sources: dict[str, str]) -> Edit | None:
    """An edit that applies to exactly one place of a source file and still compiles; `None` for any other."""
    path, old, new = (row.get(key) for key in ("path", "old", "new"))
    if not (isinstance(path, str) and isinstance(old, str) and isinstance(new, str)) or path not in sources:
        return None
    source = sources[path]
    if not old or source.count(old) != 1 or old == new:
        return None
    changed = source.replace(old, new)
    try:
        compile(changed, path, "exec")
    except (SyntaxError, ValueError):
        return None
    line = source[: source.index(old)].count("\n") + 1
    return Edit(path, line, str(row.get("why") or "proposed by the model")[:120], changed)
