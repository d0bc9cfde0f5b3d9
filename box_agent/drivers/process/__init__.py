"""Live boxes as plain processes: warm templates that fork, a keeper per box, no isolation.

===============  ====================================================================
``driver``       `ProcessDriver`
``environment``  a definition's steps carried out: files, packages, commands, cached
``templates``    template processes: built once, forked often, rebuilt when they die
``handle``       `ProcessHandle`: one live box
``link``         the node's end of the worker's socket: calls, streams, requests
``keeping``      the node's end of the keeper's socket: output, and how the box ended
``limits``       processes and memory of a whole box
``leftovers``    what is on the disk for each box, and the sweep of what a dead node left
===============  ====================================================================
"""
