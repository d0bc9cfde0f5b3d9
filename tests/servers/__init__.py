"""Real servers for the tests. Each runs on loopback, in a directory of its own, and dies with the test process.

===============  ==================================================================================
``requirement``  what a missing server means: a skip on a laptop, a failure in CI
``process``      a server as a child process: readiness, log, kill, pause, clean end
``launcher``     the few lines that run before the server and tie its life to the test process
``nats``         nats-server: the versions to be had, start, kill -9, restart on the same store
``mongodb``      a MongoDB-protocol server: a URL from outside, mongod, or FerretDB over SQLite
``chromium``     the browser on this machine, and how Playwright starts it
``ferretdb/``    the FerretDB main in Go that ``make test`` builds into ``.cache/bin``
===============  ==================================================================================
"""
