"""The doors for everything that does not speak NATS.

==============  ====================================================================
``app``         `create_app`: one FastAPI application over the hub's services
``auth``        bearer token, browser session, Host and Origin checks; pure ASGI
``lazy``        a mount that is made on its first request
``problems``    the one table from our errors to HTTP statuses
``metrics``     ``/metrics`` for Prometheus
``routes``      REST with OpenAPI, one file per noun
``a2a``         A2A 1.0: each live box is an agent with its own card
==============  ====================================================================
"""
