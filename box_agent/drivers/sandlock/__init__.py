"""Live boxes held by Landlock and a system call filter, by the package ``sandlock``, where namespaces are forbidden.

===========  ====================================================================
``driver``   `SandlockDriver`: whether the kernel has what it takes, worlds opened
``allowed``  what a box may read and write, and its environment
``inside``   the far side: the supervisor, and what it confines
===========  ====================================================================
"""
