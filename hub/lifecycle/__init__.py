"""Desired against observed state, for what `hub.registry.orphans` and `hub.tasks` do not see.

============  ==================================================================================
``strays``    live boxes on a node that no record wants there: they are ended
``losers``     tasks and live boxes that work on a branch which lost its race: they are ended
============  ==================================================================================
"""
