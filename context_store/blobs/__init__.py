"""Bytes by content hash: the port, and its adapters.

==============  =============================================================================================
``port``        `BlobStore` and `Blobs`: what every adapter promises
``directory``   `DirectoryBlobs`: one file per blob, on one machine
``cached``      `CachedBlobs`: blobs of a store that machines share, behind a directory of this one
``objects``     `ObjectStore` and `Objects`: what such a store must do
``jetstream``   `JetStreamStore`: NATS' object store
``filesystem``  `FilesystemStore`: what fsspec reaches, as S3
``together``    several requests at once
==============  =============================================================================================
"""

from context_store.blobs.port import DEFAULT_MAX_BLOB_BYTES, Blobs, BlobStore, PartResult, StoredBlob

__all__ = ["DEFAULT_MAX_BLOB_BYTES", "BlobStore", "Blobs", "PartResult", "StoredBlob"]
