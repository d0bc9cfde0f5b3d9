"""Directories by content hash.

==============  =========================================================================
``trees``       `Trees`: tree objects, and what is done with two or three of them
``objects``     read and write tree objects, walk, edit by path, read a file
``staged``      trees made in memory, stored in one trip when they are wanted
``entries``     what is said of single entries
``diff``        what differs between two trees, visiting only what differs
``merge``       three-way merge of trees, conflicts settled or told
``threeway``    one pass over three trees, path by path
``moved``       renames taken out of a merge, so that path by path is enough
``renames``     which deleted file is which added one
``similarity``  how alike two files are
``diff3``       three-way merge of lines
``text``        what is text, and unified diffs of it
==============  =========================================================================
"""

from context_store.trees.entries import Entries
from context_store.trees.merge import Resolution, Resolver, merge_conflict
from context_store.trees.objects import FileEdit
from context_store.trees.trees import Trees

__all__ = ["Entries", "FileEdit", "Resolution", "Resolver", "Trees", "merge_conflict"]
