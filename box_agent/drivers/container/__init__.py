"""Live boxes in containers, made over the API that Docker and Podman share.

==============  ==========================================================
``driver``      `ContainerDriver`: an engine found, an image made, containers opened
``engine``      the API over its unix socket: the few verbs that this needs
``image``       the image: what a box sees of the machine, without its bulk
``container``   `Container`: one, from its creation to its removal
==============  ==========================================================
"""
