"""Heartbeats and goodbye."""

from __future__ import annotations

from schemas.box import LiveBox
from tests.integration.bus.agents import Agents, Seen, eventually


async def test_an_agent_tells_who_it_is_until_it_says_goodbye(agents: Agents) -> None:
    watcher = await agents("watcher")
    beats = Seen(lambda s: (s.name, s.sender, s.data))
    await watcher.on_signal("presence.*", beats, sender="coder")
    coder = await agents("coder", beat_s=0.05)

    @coder.skill
    async def repair(path: str) -> str:
        """Mend a file."""
        return path

    def latest() -> LiveBox | None:
        name, sender, data = beats.items[-1] if beats.items else ("", "", {})
        return LiveBox.model_validate(data) if (name, sender) == ("presence.beat", "coder") else None

    live = await eventually(lambda: (box := latest()) and box.skills and box)
    assert (live.id, live.kind, live.instance, live.max_attempts) == ("coder", "attached", coder.instance, 16)
    assert [(skill.name, skill.description) for skill in live.skills] == [("repair", "Mend a file.")]
    await coder.aclose()
    await eventually(lambda: beats.items[-1][0] == "presence.goodbye")
    assert beats.items[-1][2] == {"id": "coder", "instance": coder.instance}


async def test_a_new_skill_is_told_at_once(agents: Agents) -> None:
    watcher, coder = await agents("watcher"), await agents("coder", beat_s=60)
    beats = Seen(lambda s: [skill["name"] for skill in s.data.get("skills", [])])
    await watcher.on_signal("presence.beat", beats, sender="coder")

    @coder.skill
    async def late() -> None:
        return None

    await eventually(lambda: ["late"] in beats.items)


async def test_instances_of_one_address_differ(agents: Agents) -> None:
    one, two = await agents("coder"), await agents("coder")
    assert one.instance != two.instance
