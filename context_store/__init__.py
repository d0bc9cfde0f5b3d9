"""The context manager: conversations, key-values, files and branches over MongoDB or one SQLite file.

Immutable things (blobs, trees, turns) are addressed by content or position; mutable ones are single records
moved by compare-and-set. So no transaction over several records is needed, and one small port serves every
database. Everything is kept per tenant.

=====================  =========================================================================================
``store``              `ContextStore` (a backend and a blob store, opened together) and `Scope` (one tenant of it)
``backend``            the port for records: JSON documents with a revision, compare-and-set, indexes, paging
``documents``          what both adapters share: canonical JSON, indexed fields, limits
``backends/sqlite``    the embedded adapter: one file, one writer thread, group commit
``backends/mongodb``   the adapter for MongoDB-protocol servers; all of motor is in there
``blobs``              the port for bytes by content hash, and the adapter that keeps them in a directory
``trees``              directories by content hash: read, edit, diff, three-way merge
``keyvalues``          key-values with revision, compare-and-set, time to live
``watch``              the stream of changes of key-values
``wakeups``            how a writer wakes the watches of its own process
``conversations``      append-only turns, forks, search; what fits into a prompt
``workspaces``         workspaces: a name and a root branch
``branches``           branches: fork, advance, diff, discard
``branch_records``     a branch as it is stored
``branch_keyvalues``   key-values of a branch
``key_trees``          key-values as a tree of small files
``key_merge``          three-way merge of key-values
``joined``             what a branch and its parent are together: files, key-values, turns
``plans``              what a commit would do, and conflicts that were decided before it
``commits``            the commit of a branch into its parent: one pointer switch, repaired after a crash
=====================  =========================================================================================
"""

from __future__ import annotations

from context_store.backend import Backend, Collection, Record, Records
from context_store.store import ContextStore, Scope

__all__ = ["Backend", "Collection", "ContextStore", "Record", "Records", "Scope"]
