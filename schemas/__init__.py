"""What goes over the wire. No I/O.

=================  ==================================================================
``errors``         the error tree, and its form on the wire
``ids``            identifiers and the rule for names
``envelope``       the CloudEvents envelope and its codec
``subjects``       every subject, built and parsed
``model``          ancestors of the pydantic models below
``part``           parts, messages, artifacts (A2A)
``box``            skills, Box definitions, live boxes
``node``           nodes and drivers
``task``           tasks, attempts, updates, reports
``conversation``   turns and conversations
``tree``           blobs and trees by content hash, changes
``branch``         workspaces and branches
``keyvalue``       key-value entries
``deadletter``     dead letters
``export``         all of it as JSON Schema
=================  ==================================================================
"""
