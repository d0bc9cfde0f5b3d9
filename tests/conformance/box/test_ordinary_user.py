"""The whole suite once more as an ordinary user, when it is root that runs it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.ordinary_user import pytest_as_user


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(os.geteuid() != 0, reason="this run is an ordinary user's already")
def test_every_promise_is_kept_for_an_ordinary_user() -> None:
    run = pytest_as_user([str(Path(__file__).parent), "tests/faults/box"], "-k", "local and not ordinary_user")
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    said = re.search(r"(\d+) (passed|skipped)", run.stdout)
    assert said is not None and int(said[1]) > 50
    if said[2] == "skipped":
        pytest.skip(run.stdout[-500:])
