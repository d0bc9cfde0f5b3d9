"""Live boxes as plain processes, forked from warm templates. No isolation; works on every Linux.

==========  ========================================================
``driver``  `ProcessDriver`: how a plain process is placed and ended
==========  ========================================================
"""
