"""Live boxes in Linux namespaces, made by root or by any user, forked from templates that stand behind the wall too.

Three kinds of process, each in what the one before it made (``docs/isolation.md`` draws it):

- the *ground*: our code only, sees the machine; one per driver. It makes *stages* and lends directories;
- a *template* on its stage: the Box's code is loaded here, behind the wall already: allow-listed files, no network, a
  user and pid namespace of its own, a system call filter that cannot be taken off;
- a *box*: keeper (pid 1) and worker, forked from the template, with ``/workspace``, ``/tmp``, ``/proc``, network and
  user namespace of their own, without any capability, under the final filter.

On the node's side:

==============  ==========================================================
``driver``      `LocalDriver`: the ground held, places made, boxes settled
``seen``        an environment as a Box sees it
``builder``     the box in which steps of an environment run
``building``    what that box is made from, and the step carried out in it
``sources``     where pip gets packages from, as that box sees it
``identity``    as whom boxes run on this machine
``trial``       whether it works here: by doing, and why not
``cgroups``     limits of a whole box, where the machine lets us set them
``delegation``  a cgroup of version 2 made ready to have groups with limits
``ports``       `Forwarders`: of the boxes that were granted ports
``lending``     which directories of the machine a box may be granted
==============  ==========================================================

On the far side, in the processes above:

==============  ==========================================================
``ground``      the first process: derives stages, lends directories
``stage``       from the ground to a template's own world
``template``    `StagedTemplate`: forks boxes into worlds of their own
``upper``       from a template to the stage of one that stands on it
``landing``     from the template to a box's own world
``forwarder``   gives a box single ports of the machine's loopback
``relay``       carries the box's connections to them
``rootfs``      what of the machine's files a Box sees
``mounts``      the mount API
``namespaces``  unshare, setns, user mappings, the loopback device
``privileges``  capabilities, no_new_privs, resource limits
``seccomp``     the system call filters, assembled
``libc``        calling it, and its errors as ``OSError``
==============  ==========================================================
"""
