"""The embedded adapter: one SQLite file in WAL mode, through the standard library.

===========  ==========================================================================================
``backend``  opening, closing, which thread does what
``threads``  a connection in a thread of its own: the writer commits in groups, readers do not wait for it
``tables``   tables, columns and indexes of a collection, added when missing
``records``  the statements
``text``     full-text search by FTS5 trigrams, or by scan where FTS5 is not built in
``failures`` SQLite's errors as ours
===========  ==========================================================================================
"""

from context_store.backends.sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend"]
