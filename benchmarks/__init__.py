"""Side-by-side benchmarks: ours and a baseline, interleaved in one run.

============  =====================================================================
``harness``   rows, interleaved runs, medians
``servers``   a private nats-server for the duration of a benchmark
``bus``       messages, events, calls against nats-py; FastStream beside them
============  =====================================================================

``python -m benchmarks [--only name,…]`` prints a table and writes ``benchmarks/results/*.json``.
"""
