"""Where a box or an attempt goes, and why not elsewhere. Pure: decides on what the nodes said of themselves.

=============  =======================================================================
``demand``     what is asked of a node, made from a spawn request or from a task
``filters``    one question to a node each; the answer is a reason against it
``scoring``    which of the nodes that can is the best
``placement``  `place`: filter, then score; a `Placement`, or `NoCapacity` with a reason per node
=============  =======================================================================
"""

from __future__ import annotations

from hub.scheduler.demand import Demand
from hub.scheduler.placement import Placement, place

__all__ = ["Demand", "Placement", "place"]
