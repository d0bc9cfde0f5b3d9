"""Desired against observed state, for what `hub.registry.orphans` and `hub.tasks` do not see.

============  ==================================================================================
``strays``    live boxes on a node that no record wants there: they are ended
============  ==================================================================================
"""
