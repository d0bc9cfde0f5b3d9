"""Live boxes in virtual machines, made with the package ``boxlite``.

A machine shares no kernel with its node, so no descriptor can be handed in: a *relay*, one child process for each
machine, holds it, and carries what goes over the two sockets of a box as lines.

===========  ====================================================================
``driver``   `BoxliteDriver`: whether machines boot here, worlds opened
``layout``   the image of a machine's root, as a directory that boxlite reads
``platform`` what of Python is in that image
``relay``    the child on this machine: from sockets to lines and back
``machine``  a virtual machine of boxlite as such a line
``guest``    the first process in the machine: from lines to sockets and back
``lines``    what goes over the line
===========  ====================================================================
"""
