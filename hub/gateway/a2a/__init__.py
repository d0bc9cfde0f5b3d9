"""A2A 1.0 over our tasks: each live box and attached agent is an agent at ``/a2a/<address>/``.

==============  ====================================================================
``mount``       ASGI application that finds the agent by its address
``card``        the agent card of one box
``handler``     the protocol's verbs over the task service; streams are only views
``translate``   task records ↔ protobuf tasks, messages ↔ skill arguments
==============  ====================================================================
"""
