"""The tests: ``unit`` (no network), ``conformance`` (one suite per port), ``integration``, ``faults`` and ``e2e`` (real
servers), ``architecture`` (what the tree promises about itself); ``servers`` starts what they run against."""
