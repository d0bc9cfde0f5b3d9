"""The adapter for MongoDB-protocol servers; everything that knows motor or pymongo is in this package.

Motor is in maintenance; its successor, PyMongo's own asyncio API, has the same methods. Only ``backend`` and
``records`` await anything, so that change stays within them (`docs/adr/0003-motor.md`).

============  ====================================================================================
``backend``   connecting, deadlines, retries, indexes of a collection
``records``   the operations; each changes one document, which MongoDB does as a whole
``layout``    a record as a BSON document
``queries``   `Records.find` as a filter and a sort order
``claims``    compare-and-set on FerretDB 1, whose updates are not atomic
``failures``  the driver's errors as ours
============  ====================================================================================
"""

from context_store.backends.mongodb.backend import MongoBackend

__all__ = ["MongoBackend"]
