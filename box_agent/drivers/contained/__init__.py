"""Live boxes that each get a world of their own, a container or a machine, and are loaded there.

Nothing is forked across worlds, so every box pays for its imports and runs its own ``setup``; the template is the
environment, and the proof that the code loads.

=============  ====================================================================
``driver``     `ContainedDriver`: builds, spawns, settles; what a world is, is the adapter's
``world``      the port of a world: opened with what it takes, closed with all that is in it
``beginning``  the order to the process inside that makes it a box
``child``      a world that a child of this process makes, for two of them
``inside``     the far side: the first process of a world
=============  ====================================================================
"""
