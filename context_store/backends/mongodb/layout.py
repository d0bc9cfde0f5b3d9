"""A record as a BSON document.

==========  ==================================================================================
``_id``     tenant and key: unique within the collection, and in key order within a tenant
``t``       tenant
``r``       revision
``w``       a token of the write that made this revision: tells a retried write that it was its own
``d``       the document as JSON text
``f``       the indexed fields
``u``       the unique fields; a null has a value of its own there, so that nulls do not clash
``x``       the text to search, folded
``i``       which fields were indexed when it was written
==========  ==================================================================================
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from context_store.backend import Collection, Record, Scalar
from context_store.documents import Prepared, decode

BSON = dict[str, Any]


def record_id(tenant: str, key: str) -> str:
    return f"{tenant}/{key}"


def field_name(field: str) -> str:
    """A field's name inside ``f`` and ``u``; a dot would be a path."""
    return field.replace(".", "/")


def index_version(collection: Collection) -> str:
    """Changes with what is indexed, so that records written before can be found and indexed anew."""
    what = json.dumps([collection.fields, collection.unique, collection.text])
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def to_bson(collection: Collection, tenant: str, key: str, prepared: Prepared, *, revision: int, token: str) -> BSON:
    fields = dict(zip(collection.fields, prepared.fields, strict=True))
    bson: BSON = {
        "_id": record_id(tenant, key),
        "t": tenant,
        "r": revision,
        "w": token,
        "d": prepared.json,
        "f": {field_name(name): value for name, value in fields.items()},
        "u": {field_name(name): _unique(tenant, key, fields[name]) for name in collection.unique},
        "i": index_version(collection),
    }
    if prepared.text is not None:
        bson["x"] = prepared.text
    return bson


def to_record(bson: BSON) -> Record:
    return Record(bson["_id"].partition("/")[2], bson["r"], decode(bson["d"]))


def _unique(tenant: str, key: str, value: Scalar) -> str:
    if value is None:
        return f"{tenant}/null/{key}"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # 1 and 1.0 are equal to every database
    return f"{tenant}/value/{json.dumps(value)}"
