"""Typed clients of the hub's services, reached over the bus.

=================  ==========================================================
``services``       all of them, as attributes of an agent
``hub``            one call to the hub, and watches that come back
``conversations``  append-only trees of turns
``keyvalues``      small JSON documents with a revision
``workspaces``     branchable file trees, branches, commits
``open_branch``    a workspace and its branches as objects
``commits``        commits whose conflicts and merged files the caller judges
``blobs``          bytes by hash, in chunks, verified
``tasks``          durable delegations and their updates
``boxes``          the registry: live boxes, definitions, nodes
=================  ==========================================================
"""
