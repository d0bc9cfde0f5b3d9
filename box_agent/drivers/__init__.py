"""Adapters of the driver port, one folder each, and what several of them share.

===========  ============================================================
``local``    Linux namespaces, as root or as any user
``container``  Docker and Podman
``sandlock``  Landlock and a system call filter, where user namespaces are forbidden
``boxlite``  virtual machines
``process``  plain processes: no isolation, works everywhere
``forking``  no driver: live boxes forked from warm templates, for ``local`` and ``process``
``contained``  no driver: live boxes that are each loaded in a world of their own
``absent``  stands for a driver whose packages are not installed
===========  ============================================================
"""
