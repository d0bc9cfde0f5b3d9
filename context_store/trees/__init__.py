"""Directories by content hash.

===========  =========================================================================
``trees``    `Trees`: read and write tree objects, walk, edit by path, read a file
``entries``  what is said of single entries
``diff``     what differs between two trees, visiting only what differs
``merge``    three-way merge, path by path
``diff3``    three-way merge of lines
``text``     what is text, and unified diffs of it
===========  =========================================================================
"""

from context_store.trees.entries import Entries
from context_store.trees.merge import Resolver
from context_store.trees.trees import FileEdit, Trees

__all__ = ["Entries", "FileEdit", "Resolver", "Trees"]
