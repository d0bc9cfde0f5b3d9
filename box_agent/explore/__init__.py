"""Search over branches: many tries from one state, the best one committed, the rest gone.

::

    found = await explore(
        site,
        attempt,
        strategy=Beam(width=3, children=4, depth=3),
        score=tests_passed,
        stop_at=1.0,
        budget=Budget(branches=40, seconds=120),
        seed=7,
    )
    await found.commit()

===============  =====================================================================
``engine``       `explore`: forks, runs, scores, cuts, and leaves one line open
``strategies``   which branches to grow next: best of N, first success, beam, tree
``trial``        one try, what a search may cost, and what came of it
``attempts``     tries made by tasks on a pool, or in live boxes
``progress``     a line that says how far it is
===============  =====================================================================
"""

from box_agent.explore.attempts import in_boxes, on_pool
from box_agent.explore.engine import explore
from box_agent.explore.strategies import Beam, BestOf, FirstSuccess, Strategy, TreeSearch
from box_agent.explore.trial import Budget, Exploration, Trial

__all__ = [
    "Beam",
    "BestOf",
    "Budget",
    "Exploration",
    "FirstSuccess",
    "Strategy",
    "TreeSearch",
    "Trial",
    "explore",
    "in_boxes",
    "on_pool",
]
