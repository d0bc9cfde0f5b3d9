"""Side-by-side benchmarks: ours and a baseline, interleaved in one run.

============  =====================================================================
``harness``   rows, interleaved runs, medians
``servers``   a private nats-server for the duration of a benchmark
``load``      what the benchmarks of the bus share
``bus``       messages, events, calls against nats-py; FastStream beside them
``fanout``    one event or signal, many subscribers
``imports``   what ``import box_agent`` costs
``context``   the context store
``tasks``     tasks through a whole hub; ``task_roles`` are its processes, and those of ``node_calls``
``box``       live boxes of the local driver; measured in ``spawns``, beside ``alternatives``
``node_calls``  skill calls into a box, through its node
``up``        how long ``boxhub up`` takes
``repair``    candidates a second, against worktrees and subprocesses
============  =====================================================================

``python -m benchmarks [--only name,…]`` prints a table and writes ``benchmarks/results/*.json``.
"""
