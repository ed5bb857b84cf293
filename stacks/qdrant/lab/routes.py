"""Qdrant's REST API: each path and method to what is done in the store."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qdrant_edge as edge
import queries
from store import Store
from wire import Json, Refused, absent, filtered, only, order, payload, point_id, record, shown_id, vector

DONE = {"operation_id": 0, "status": "completed"}
_TARGET = "points filter"


@dataclass(frozen=True)
class File:
    """An answer that is a file's content."""

    path: Path


def answer(store: Store, method: str, path: str, body: Json, raw: bytes) -> Json:
    """What is answered as `result`, or a File. Raises Refused."""
    first, *rest = (urllib.parse.unquote(part) for part in path.strip("/").split("/"))
    if first == "aliases":
        return {"aliases": _aliases(store)}
    if first in ("snapshots", "cluster", "telemetry", "locks", "issues", "metrics"):
        raise absent(f"/{first} of a whole server")
    if first != "collections":
        raise Refused(404, f"there is no {path}")
    if not rest:
        return {"collections": [{"name": name} for name in store.collections]}
    if rest == ["aliases"]:
        store.rename(body["actions"])
        return True
    name, *below = rest
    if not below:
        return _collection(store, method, name, body)
    if below[0] == "exists":
        return {"exists": store.aliases.get(name, name) in store.collections}
    if below[0] == "aliases":
        return {"aliases": [one for one in _aliases(store) if one["collection_name"] == store.name_of(name)]}
    if below[0] == "snapshots":
        return _snapshots(store, method, name, below[1:], body, raw)
    return _points(store.shard(name), method, "/".join(below), body)


def _aliases(store: Store) -> list[Json]:
    return [{"alias_name": alias, "collection_name": name} for alias, name in store.aliases.items()]


def _collection(store: Store, method: str, name: str, body: Json) -> Json:
    if method == "PUT":
        store.create(name, body)
    elif method == "PATCH":
        store.tune(name, body)
    elif method == "DELETE":
        return store.delete(name)
    else:
        return _described(store, name)
    return True


def _described(store: Store, name: str) -> Json:
    info, wanted = store.shard(name).info(), store.collections[store.name_of(name)]
    schema = {
        key: {"data_type": str(found.data_type).rpartition(".")[2].lower(), "points": found.points}
        for key, found in info.payload_schema.items()
    }
    params = {
        "vectors": wanted.get("vectors") or {},
        "sparse_vectors": wanted.get("sparse_vectors"),
        "shard_number": 1,
        "replication_factor": 1,
        "write_consistency_factor": 1,
        "on_disk_payload": True,
    }
    optimizer = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0}
    return {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": info.segments_count,
        "points_count": info.points_count,
        "indexed_vectors_count": info.indexed_vectors_count,
        "payload_schema": schema,
        "config": {
            "params": params,
            "hnsw_config": {
                "m": 16,
                "ef_construct": 100,
                "full_scan_threshold": 10000,
                **_given(wanted, "hnsw_config"),
            },
            "optimizer_config": {**optimizer, "flush_interval_sec": 5, **_given(wanted, "optimizers_config")},
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, **_given(wanted, "wal_config")},
        },
    }


def _given(wanted: Json, key: str) -> dict[str, Json]:
    return {word: value for word, value in (wanted.get(key) or {}).items() if value is not None}


def _snapshots(store: Store, method: str, name: str, below: list[str], body: Json, raw: bytes) -> Json:
    if below == ["recover"]:
        place = urllib.parse.urlparse(body["location"])
        if place.scheme != "file":
            raise absent("recovery but from file://")
        store.recover(name, Path(place.netloc + place.path))
        return True
    if below == ["upload"]:
        draft = store.upload
        draft.write_bytes(raw.split(b"\r\n\r\n", 1)[-1].rsplit(b"\r\n--", 1)[0])
        try:
            store.recover(name, draft)
        finally:
            draft.unlink()
        return True
    if not below:
        return store.snapshot(name) if method == "POST" else store.snapshots(name)
    file = store.snapshot_file(name, below[0])
    if method == "DELETE":
        file.unlink()
        return True
    return File(file)


def _points(shard: Any, method: str, path: str, body: Json) -> Json:
    if path == "index":
        return _indexed(shard, body)
    if path.startswith("index/"):
        return _updated(shard, edge.UpdateOperation.delete_field_index(path.removeprefix("index/")))
    if path == "facet":
        only(body, "key limit filter exact", "a facet")
        found = shard.facet(
            edge.FacetRequest(body["key"], body.get("limit") or 10, filter=filtered(body.get("filter")))
        )
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in found.hits]}
    if path == "points" and method == "POST":
        only(body, "ids with_payload with_vector", "a retrieval")
        wanted = payload(body.get("with_payload"), True)
        found = shard.retrieve([point_id(one) for one in body["ids"]], wanted, body.get("with_vector") or False)
        return [record(one) for one in found]
    for word, read in _READS.items():
        if path == f"points/{word}":
            return read(shard, body)
    for place, write in _WRITES.items():
        if (method, path) == place:
            return _updated(shard, write(body))
    if path == "points/batch":
        return [_updated(shard, write) for write in [_step(one) for one in body["operations"]]]
    if method == "GET" and path.startswith("points/") and "/" not in (one := path.removeprefix("points/")):
        return _one(shard, one)
    raise absent(f"{method} of {path}")


def _one(shard: Any, name: str) -> Json:
    found = shard.retrieve([point_id(int(name) if name.isdigit() else name)], True, True)
    if not found:
        raise Refused(404, f"Not found: Point with id {name} does not exists!")
    return record(found[0])


def _indexed(shard: Any, body: Json) -> Json:
    only(body, "field_name field_schema", "an index")
    schema = body["field_schema"]
    kind = schema if isinstance(schema, str) else schema["type"]
    if not isinstance(schema, str):
        # Where an index lies and how it is tuned changes no result; how a text is cut into words would.
        only(schema, "type on_disk is_tenant is_principal lookup range", "an index")
    return _updated(
        shard,
        edge.UpdateOperation.create_field_index(body["field_name"], getattr(edge.PayloadSchemaType, kind.capitalize())),
    )


def _updated(shard: Any, operation: Any) -> Json:
    shard.update(operation)
    return DONE


def _counted(shard: Any, body: Json) -> Json:
    only(body, "filter exact", "a count")
    return {"count": shard.count(edge.CountRequest(True, filtered(body.get("filter"))))}


def _scrolled(shard: Any, body: Json) -> Json:
    only(body, "offset limit filter with_payload with_vector order_by", "a scroll")
    rows, following = shard.scroll(
        edge.ScrollRequest(
            point_id(body["offset"]) if body.get("offset") is not None else None,
            body.get("limit") or 10,
            filtered(body.get("filter")),
            payload(body.get("with_payload"), True),
            body.get("with_vector") or False,
            order(body["order_by"]) if body.get("order_by") else None,
        )
    )
    return {"points": [record(row) for row in rows], "next_page_offset": shown_id(following)}


def _upserted(body: Json) -> Any:
    only(body, "points batch", "an upsert")
    return edge.UpdateOperation.upsert_points([_point(one) for one in _given_points(body)])


def _given_points(body: Json) -> list[Json]:
    if "batch" not in body:
        return list(body["points"])
    only(body["batch"], "ids vectors payloads", "a batch")
    ids, vectors = body["batch"]["ids"], body["batch"]["vectors"]
    named = isinstance(vectors, dict)
    every = [{key: one[at] for key, one in vectors.items()} if named else vectors[at] for at in range(len(ids))]
    contents = body["batch"].get("payloads") or [None] * len(ids)
    return [{"id": a, "vector": b, "payload": c} for a, b, c in zip(ids, every, contents, strict=True)]


def _point(one: Json) -> Any:
    only(one, "id vector payload", "a point")
    return edge.Point(point_id(one["id"]), vector(one["vector"]), one.get("payload") or {})


def _change(operation: str, known: str, *words: str) -> Callable[[Json], Any]:
    """An update of the points that are named or that a filter finds."""

    def made(body: Json) -> Any:
        only(body, f"{_TARGET} {known}", operation)
        given = [body.get(word) for word in words]
        if body.get("points") is not None:
            return getattr(edge.UpdateOperation, operation)([point_id(one) for one in body["points"]], *given)
        if not isinstance(body.get("filter"), dict):
            raise Refused(400, "Wrong input: neither points nor a filter are given")
        return getattr(edge.UpdateOperation, f"{operation}_by_filter")(filtered(body["filter"]), *given)

    return made


def _moved(body: Json) -> Any:
    only(body, "points", "an update of vectors")
    return edge.UpdateOperation.update_vectors(
        [edge.PointVectors(point_id(one["id"]), vector(one["vector"])) for one in body["points"]]
    )


def _step(operation: Json) -> Any:
    ((word, body),) = operation.items()
    if word not in _STEPS:
        raise absent(f"`{word}` in a batch")
    return _STEPS[word](body)


_READS: dict[str, Callable[[Any, Json], Json]] = {
    "count": _counted,
    "query": queries.run,
    "query/batch": lambda shard, body: [queries.run(shard, one) for one in body["searches"]],
    "scroll": _scrolled,
}
_STEPS: dict[str, Callable[[Json], Any]] = {
    "upsert": _upserted,
    "delete": _change("delete_points", ""),
    "set_payload": _change("set_payload", "payload key", "payload", "key"),
    "overwrite_payload": _change("overwrite_payload", "payload key", "payload", "key"),
    "delete_payload": _change("delete_payload", "keys", "keys"),
    "clear_payload": _change("clear_payload", ""),
    "update_vectors": _moved,
    "delete_vectors": _change("delete_vectors", "vector", "vector"),
}
_WRITES: dict[tuple[str, str], Callable[[Json], Any]] = {
    ("PUT", "points"): _STEPS["upsert"],
    ("POST", "points/delete"): _STEPS["delete"],
    ("POST", "points/payload"): _STEPS["set_payload"],
    ("PUT", "points/payload"): _STEPS["overwrite_payload"],
    ("POST", "points/payload/delete"): _STEPS["delete_payload"],
    ("POST", "points/payload/clear"): _STEPS["clear_payload"],
    ("PUT", "points/vectors"): _STEPS["update_vectors"],
    ("POST", "points/vectors/delete"): _STEPS["delete_vectors"],
}
