"""What runs on the far side of a driver: template, keeper and worker. Light imports only.

===============  ====================================================================
``template``     a process with everything ready that forks a box on demand
``imports``      where it imports a Box's modules from, one layer on top of another
``carried``      what a fork of it would not carry over
``rehearsal``    a worker's first call, done once in memory that all boxes share
``keeper``       the parent of one box's processes: knows when all have ended
``init``         the first process of a pid namespace
``serving``      the worker: takes calls from the node and runs skills
``calls``        one call and its answer
``interrupt``    raising a cancel in the main thread
``shortage``     which limit of the box an error of Python stands for
``execution``    how a skill runs in the main thread: one at a time, or on an event loop
``port``         a skill's way to the bus: over the socket to the node
``commands``     shell commands of skills, killed as whole trees
``config``       the environment variables of a box's processes
``frames``       messages on the sockets
``processes``    process trees: finding and ending them
``kernel``       what the kernel offers and Python does not wrap
===============  ====================================================================
"""
