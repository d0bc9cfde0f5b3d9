"""Bytes by content hash: the port, and the adapter for a directory on this machine.

=============  =======================================================
``port``       `BlobStore` and `Blobs`: what every adapter promises
``directory``  `DirectoryBlobs`: one file per blob
=============  =======================================================
"""

from context_store.blobs.port import DEFAULT_MAX_BLOB_BYTES, Blobs, BlobStore, PartResult, StoredBlob

__all__ = ["DEFAULT_MAX_BLOB_BYTES", "BlobStore", "Blobs", "PartResult", "StoredBlob"]
