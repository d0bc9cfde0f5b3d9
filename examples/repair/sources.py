"""Reading files of a branch through the context manager."""

from __future__ import annotations

from collections.abc import Iterable

from box_agent.agent import Agent
from schemas.tree import TreeEntry, decode_tree


async def read_sources(agent: Agent, branch: str, paths: Iterable[str]) -> dict[str, str]:
    """path → text of each of ``paths`` on the branch's newest tree; directories are read once."""
    head = (await agent.workspaces.branch(branch)).head
    directories: dict[str, dict[str, TreeEntry]] = {"": decode_tree(await agent.blobs.get(head))}
    found: dict[str, str] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        entries = await _directory(agent, directories, folder)
        found[path] = (await agent.blobs.get(entries[name].hash)).decode()
    return found


async def _directory(agent: Agent, known: dict[str, dict[str, TreeEntry]], folder: str) -> dict[str, TreeEntry]:
    if folder not in known:
        parent, _, name = folder.rpartition("/")
        entry = (await _directory(agent, known, parent))[name]
        known[folder] = decode_tree(await agent.blobs.get(entry.hash))
    return known[folder]
