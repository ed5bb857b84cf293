"""A query of Qdrant's `points/query` as qdrant-edge takes it."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from wire import Json, Refused, absent, filtered, only, order, payload, point_id, record, vector

_ASKED = "query prefetch using filter params score_threshold limit offset with_vector with_payload"
_EXACT = "hnsw_ef exact indexed_only"  # every search here is exact, so that these change nothing


def run(shard: Any, asked: Json) -> Json:
    """The points that a query finds, best first."""
    only(asked, _ASKED, "a query")
    only(asked.get("params") or {}, _EXACT, "params of a query")
    query, wanted = _nearest(asked.get("query")), asked.get("filter")
    if isinstance(query, int | str):  # the point that is asked about is not its own neighbour
        wanted = {"must_not": [{"has_id": [query]}], **({"must": [wanted]} if wanted else {})}
    rows = shard.query(
        edge.QueryRequest(
            limit=asked.get("limit") or 10,
            offset=asked.get("offset") or 0,
            query=_scoring(shard, query, asked.get("using")) if query is not None else None,
            prefetches=_prefetches(shard, asked),
            filter=filtered(wanted),
            with_payload=payload(asked.get("with_payload"), False),
            with_vector=asked.get("with_vector") or False,
            score_threshold=asked.get("score_threshold"),
        )
    )
    return {"points": [record(row, score=row.score, version=row.version) for row in rows]}


def _prefetches(shard: Any, asked: Json) -> list[Any]:
    every = asked.get("prefetch") or []
    return [_prefetch(shard, one) for one in (every if isinstance(every, list) else [every])]


def _prefetch(shard: Any, asked: Json) -> Any:
    only(asked, "query prefetch using filter params score_threshold limit", "a prefetch")
    query = _nearest(asked.get("query"))
    return edge.Prefetch(
        limit=asked.get("limit") or 10,
        query=_scoring(shard, query, asked.get("using")) if query is not None else None,
        prefetches=_prefetches(shard, asked),
        filter=filtered(asked.get("filter")),
        score_threshold=asked.get("score_threshold"),
    )


def _nearest(query: Json) -> Json:
    if isinstance(query, dict) and "nearest" in query:
        only(query, "nearest", "a nearest query")
        return query["nearest"]
    return query


def _scoring(shard: Any, query: Json, using: str | None) -> Any:
    if not isinstance(query, dict) or set(query) == {"indices", "values"}:
        return edge.Query.Nearest(_example(shard, query, using), using)
    if "fusion" in query:
        return edge.Fusion.Rrf(2) if query["fusion"] == "rrf" else edge.Fusion.Dbsf()
    if "order_by" in query:
        return order(query["order_by"])
    if "recommend" in query:
        return _recommended(shard, query["recommend"], using)
    raise absent(f"query `{next(iter(query), '')}`")


def _recommended(shard: Any, asked: Json, using: str | None) -> Any:
    only(asked, "positive negative strategy", "a recommendation")
    make = {"best_score": edge.Query.RecommendBestScore, "sum_scores": edge.Query.RecommendSumScores}
    strategy = asked.get("strategy") or "average_vector"
    if strategy not in make:
        raise absent(f"recommendation by {strategy}")
    good, bad = ([_example(shard, one, using) for one in asked.get(word) or []] for word in ("positive", "negative"))
    return make[strategy](edge.RecommendQuery(good, bad), using)


def _example(shard: Any, value: Json, using: str | None) -> Any:
    """A vector, or that of a point."""
    if not isinstance(value, int | str):
        return vector(value)
    found = shard.retrieve([point_id(value)], False, True)
    if not found:
        raise Refused(404, f"Not found: No point with id {value} found")
    return found[0].vector[using or ""] if isinstance(found[0].vector, dict) else found[0].vector
