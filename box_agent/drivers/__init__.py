"""Adapters of the driver port, one folder each, and what two of them share.

===========  ============================================================
``local``    Linux namespaces, as root or as any user
``process``  plain processes: no isolation, works everywhere
``forking``  no driver: live boxes forked from warm templates, for both
===========  ============================================================
"""
