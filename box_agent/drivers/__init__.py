"""Adapters of the driver port, one folder each.

===========  ==================================================
``process``  plain processes: no isolation, works everywhere
===========  ==================================================
"""
