"""Live boxes forked from warm templates: what the process driver and the local driver have in common.

===============  ====================================================================
``driver``       `ForkingDriver`: builds, spawns, settles; how a box stands is the adapter's
``environment``  a definition's steps carried out: files, packages, commands, cached
``steps``        one command of a step: what it is, how it fails, how it runs without a wall
``templates``    template processes: orders to them, and their end
``cache``        which of them are held warm: built once, forked often, rebuilt when they die, let go
``loading``      a Box's code on its way into one
``handle``       `ForkedHandle`: one live box
``link``         the node's end of the worker's socket: calls, streams, requests
``keeping``      the node's end of the keeper's socket: output, and how the box ended
``peers``        messages with descriptors, and the pid of who sent them
``limits``       processes, memory and files of a whole box
``disk``         what boxes have on the node's disk
``leftovers``    what is on the disk for each box, and the sweep of what a dead node left
===============  ====================================================================
"""
