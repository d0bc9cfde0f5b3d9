"""The control plane: everything that decides, and every door to it.

===============  ==================================================================================
``config``       every setting of the hub, one frozen object
``version``      which version this is
``logging``      how events are written
``background``   tasks that run while a block runs
``private_file`` files that only their owner may read
``app``          the composition root: ``async with Hub(settings) as hub``; ``python -m hub.app``
``tenant``       one tenant in one hub: agent, registry, tasks, services
``stores``       the context store that the settings ask for
``serving``      the gateway's HTTP server in the hub's own event loop
``upkeep``       what a store needs now and then
``services/``    what the hub does for others, free of any transport: one file per family
``bus_adapter``  serves the services as skills of ``_hub`` on the bus
``registry/``    who is there: boxes and nodes as their heartbeats tell
``leader``       loops that must run once among replicas
``tasks/``       durable tasks: attempts, leases, cancellation, updates
``scheduler/``   where a box goes, and why not elsewhere
``lifecycle/``   desired against observed state
``gateway/``     REST, SSE, A2A
``dashboard/``   the live page
``cli/``         the command ``boxhub``
``local/``       ``boxhub up``: nats-server, hub and node on one machine, supervised
===============  ==================================================================================
"""
