"""The node: makes live boxes on this machine, serves them on the bus, runs attempts of tasks in them.

================  ==================================================================
``service``       composition root: bus, drivers, boxes, attempts; start and drain
``config``        settings (environment ``BOXHUB_NODE_…``)
``boxes``         every box of the node by id: made once, bounded, ended in order
``livebox``       one box: its process, its address, its branch, its limits
``surroundings``  what a box may ask for, and where its progress and output go
``mounts``        a branch as a directory, and back to the branch
``attempts``      an attempt of a task: fresh box, skill, files, result
``blobs``         blobs on this machine, fetched once however many ask
``drivers``       the drivers of this machine, and the choice between them
``kinds``         what the names of drivers stand for
``doctor``        what this machine can do for boxes, driver by driver, and why not more
``warmth``         what is kept so that boxes start sooner: built ahead, explained, pruned
``beats``         heartbeats: this node and what is on it
``home``          directories of the node, held by one process at a time
================  ==================================================================
"""
