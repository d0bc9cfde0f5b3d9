"""A composed Box on every driver, whether it is forked from templates of its parts or loaded by itself."""

from __future__ import annotations

import asyncio

from tests.conformance.box.conftest import Workbench, ask
from tests.conformance.box.test_prefixes import Low, Middle


async def test_it_has_all_its_parts_and_what_is_kept_warm_is_what_is_declared(bench: Workbench) -> None:
    definition, _ = await bench.template(Low() + Middle())
    live = await bench.spawn(Low() + Middle())
    found = await live.call(ask("middle"))
    assert found["seen"] == ["LOW", "MIDDLE", "low.txt", "middle.txt"]
    assert found["low"] == (await live.call(ask("low")))["dice"]
    states = await asyncio.to_thread(bench.driver.warmth, definition)
    assert [state.parts for state in states] == [["low"], ["low", "middle"]]
    for state in states:
        assert state.warm is bench.driver.info.warm is not bool(state.why)
        assert (state.memory_bytes > 0) is state.warm
    kept = await asyncio.to_thread(bench.driver.warmth)
    assert [state.fingerprint for state in kept] == [template.fingerprint for template in bench.driver.templates]
    assert definition.fingerprint in {state.fingerprint for state in kept}
