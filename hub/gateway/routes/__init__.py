"""REST, one file per noun; every handler is a line or two over a service.

=================  ==================================================================
``access``         what handlers get from the request: services, bus agent, tenant
``boxes``          boxes, nodes, definitions, skill calls
``tasks``          submit, read, cancel, numbered updates (SSE)
``events``         publish, follow with resume (SSE), messages
``workspaces``     workspaces, branches, diff, commit
``conversations``  conversations, turns, prompts
``keyvalues``      key-values with compare-and-set
``deadletters``    list and redrive
``system``         probes, tenants, schema
=================  ==================================================================
"""
