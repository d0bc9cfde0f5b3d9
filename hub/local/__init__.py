"""``boxhub up``: nats-server, hub and node of one machine, started together, supervised, ended together.

===============  ==================================================================================
``system``       `LocalSystem`: all of it as one ``async with``
``child``        one process that is started again when it dies
``launcher``     the few lines that tie a child's life to the supervisor's
``nats``         the private nats-server: binary, port, configuration
``home``         the directory everything lies in, its secrets, and the lock one system holds on it
``connection``   connection.json, by which scripts find the system; `status` and `stop`
``config``       what this process was started with
``logs``         log files with a bound
``foreground``   `run_up`: a system in a terminal
``embedded``     a private system for one script, gone when the script is
``__main__``     ``python -m hub.local [--embedded]``
===============  ==================================================================================

Nothing here imports the control plane: it runs in a process of its own.
"""

from hub.local.connection import Connection, Status, read_connection, status, stop
from hub.local.foreground import run_up
from hub.local.system import LocalSystem

__all__ = ["Connection", "LocalSystem", "Status", "read_connection", "run_up", "status", "stop"]
