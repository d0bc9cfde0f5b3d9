"""Who is there: boxes, attached agents and nodes, as their heartbeats tell.

===============  ==================================================================================
``presence``     the live view of one tenant: pure, told what arrived and what time it is
``changes``      feeds of what changed, one bounded queue per reader
``registry``     `Registry`: the view kept up to date from the bus
``definitions``  registered Boxes, in the store
``spawned``      which boxes the hub had made, where and for whom, in the store
``spawner``      makes a live box on a node, once per id
``warmth``       what nodes keep so that boxes start sooner
``orphans``      stops boxes whose owner is gone
===============  ==================================================================================
"""

from hub.registry.registry import Registry

__all__ = ["Registry"]
