"""`Records.find` as a filter and a sort order. Uses only operators that FerretDB 1 has."""

from __future__ import annotations

import re
from typing import Any

from context_store.backend import Scalar
from context_store.backends.mongodb.layout import field_name, record_id
from context_store.documents import Query, successor

Filter = dict[str, Any]


def build(tenant: str, wanted: Query) -> tuple[Filter, list[tuple[str, int]]]:
    """The filter and the sort order of a checked query."""
    found: Filter = {"t": tenant}
    conditions: list[Filter] = []
    if (range_of_keys := _keys(tenant, wanted)) is not None:
        found["_id"] = range_of_keys
    for field, values in wanted.where:
        name = f"f.{field_name(field)}"
        conditions.append({name: values[0]} if len(values) == 1 else {name: {"$in": list(values)}})
    if wanted.by is not None and wanted.after_key is not None:
        conditions.append({"$or": _after(tenant, wanted)})
    conditions += [{"x": {"$regex": re.escape(word)}} for word in wanted.words]
    if conditions:
        found["$and"] = conditions
    direction = -1 if wanted.descending else 1
    by = [(f"f.{field_name(wanted.by)}", direction)] if wanted.by is not None else []
    return found, [*by, ("_id", direction)]


def _keys(tenant: str, wanted: Query) -> Filter | None:
    """The range of ids that prefix and page leave."""
    found: Filter = {}
    if wanted.from_key is not None:
        found["$gte"] = record_id(tenant, wanted.from_key)
        end = successor(found["$gte"])
        if end is not None:
            found["$lt"] = end
    if wanted.by is None and wanted.after_key is not None:
        after = record_id(tenant, wanted.after_key)
        if wanted.descending:
            found["$lt"] = min(after, found.get("$lt", after))
        else:
            found["$gt"] = after
    return found or None


def _after(tenant: str, wanted: Query) -> list[Filter]:
    """Everything behind the last record of the page before. Null is smaller than numbers, they than strings;
    MongoDB's ``$gt`` and ``$lt`` only see values of the same kind, so the other kinds are named.
    """
    assert wanted.by is not None
    assert wanted.after_key is not None
    name, value = f"f.{field_name(wanted.by)}", wanted.after_value
    beyond = "$lt" if wanted.descending else "$gt"
    equal: Filter = {name: value, "_id": {beyond: record_id(tenant, wanted.after_key)}}
    same_kind = [] if value is None else [{name: {beyond: value}}]
    return [*same_kind, *_other_kinds(name, value, wanted.descending), equal]


def _other_kinds(name: str, value: Scalar, descending: bool) -> list[Filter]:
    null: Filter = {name: None}
    numbers: Filter = {name: {"$type": "number"}}
    strings: Filter = {name: {"$type": "string"}}
    if value is None:
        return [] if descending else [numbers, strings]
    if isinstance(value, str):
        return [numbers, null] if descending else []
    return [null] if descending else [strings]
