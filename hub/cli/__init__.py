"""The ``boxhub`` command.

===============  =================================================================
``app``          the Typer application and ``main``
``session``      which hub a command speaks to
``client``       REST client of a running hub; errors come back as our classes
``output``       tables for people, JSON for programs, errors with an exit code
``system``       ``up down status schema``
``boxes``        ``boxes call send``
``definitions``  ``box build, box ls, box inspect``
``cache``        ``cache ls, cache prune``
``doctor``       ``doctor``
``events``       ``publish events deadletters``
``tasks``        ``tasks task cancel``
``branches``     ``branches diff``
===============  =================================================================
"""

from hub.cli.app import main

__all__ = ["main"]
