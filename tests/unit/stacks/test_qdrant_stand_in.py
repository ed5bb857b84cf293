"""Qdrant's stand-in, judged by its own client: what consumers ask works, what is absent is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import importlib.metadata
import json
import random
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from aihub import paths

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import UnexpectedResponse

LAB = paths.STACKS / "qdrant" / "lab"
KEYS = {"api_key": "full-key", "alt_api_key": "signing-key", "read_only_api_key": "reading-key", "jwt_rbac": True}
UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
pytestmark = pytest.mark.filterwarnings("ignore")  # the client warns of keys over plain HTTP


@pytest.fixture(scope="module", autouse=True)
def library() -> None:
    """The client: its import takes a second, which only the process pays that runs these tests."""
    global QdrantClient, models, UnexpectedResponse
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from qdrant_client import QdrantClient, models
        from qdrant_client.http.exceptions import UnexpectedResponse


class Running:
    """The server as a process, on a port of the loopback."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        service = {"host": "127.0.0.1", "http_port": self.port, **KEYS}
        self.file = folder / "config.yaml"
        self.file.write_text(json.dumps({"service": service, "storage": {"storage_path": str(folder / "storage")}}))
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        argv = [sys.executable, str(LAB / "server.py"), "--config-path", str(self.file)]
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            assert self.process.poll() is None, "it ended"
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.1)
        pytest.fail("it does not answer")

    def end(self, how: signal.Signals) -> None:
        self.process.send_signal(how)
        self.process.wait(30)

    def client(self, key: str = "full-key") -> QdrantClient:
        return QdrantClient(url=self.url, api_key=key, timeout=60, check_compatibility=False)

    def ask(self, method: str, path: str, key: str | None = "full-key", **more: Any) -> requests.Response:
        headers = {"api-key": key} if key else {}
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=60, **more)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("qdrant"))
    try:
        yield running
    finally:
        running.end(signal.SIGTERM)
    assert running.process.returncode == 0


@pytest.fixture(scope="module")
def client(server: Running) -> QdrantClient:
    return server.client()


@pytest.fixture
def docs(client: QdrantClient) -> Iterator[str]:
    """A collection of 21 points: twenty of two cities, and one with a UUID."""
    client.create_collection("docs", vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    some = random.Random(1)
    points = [
        models.PointStruct(
            id=number,
            vector=[some.random() for _ in range(4)],
            payload={
                "city": ["Berlin", "Paris"][number % 2],
                "n": number,
                "text": f"red fox {number}",
                "day": f"2026-01-{number + 1:02d}T00:00:00Z",
                "place": {"lon": 13.4, "lat": 52.5},
            },
        )
        for number in range(20)
    ]
    assert client.upsert("docs", points, wait=True).status == "completed"
    client.upsert("docs", [models.PointStruct(id=UUID, vector=[1, 0, 0, 0], payload={"city": "Rome"})])
    yield "docs"
    client.delete_collection("docs")


def city(name: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value=name))])


def test_collections_are_made_listed_and_removed(client: QdrantClient, docs: str) -> None:
    assert client.collection_exists(docs)
    assert [one.name for one in client.get_collections().collections] == [docs]
    with pytest.raises(UnexpectedResponse) as refused:
        client.create_collection(docs, vectors_config=models.VectorParams(size=4, distance=models.Distance.COSINE))
    assert refused.value.status_code == 409
    assert client.create_collection("other", vectors_config=models.VectorParams(size=2, distance="Euclid"))
    assert client.delete_collection("other")
    assert not client.collection_exists("other")


def test_points_are_counted_with_and_without_a_filter(client: QdrantClient, docs: str) -> None:
    def count(**clauses: Any) -> int:
        return client.count(docs, count_filter=models.Filter(**clauses)).count

    assert client.count(docs).count == 21
    assert client.count(docs, count_filter=city("Paris")).count == 10
    some = models.FieldCondition(key="city", match=models.MatchAny(any=["Berlin", "Rome"]))
    assert count(must=[some], must_not=[models.HasIdCondition(has_id=[0])]) == 10
    late = models.FieldCondition(key="day", range=models.DatetimeRange(gte="2026-01-10T00:00:00Z"))
    assert count(must=[late]) == 11
    near = models.GeoRadius(center=models.GeoPoint(lon=13.4, lat=52.5), radius=1000)
    assert count(must=[models.FieldCondition(key="place", geo_radius=near)]) == 20
    corner = models.GeoBoundingBox(top_left=models.GeoPoint(lon=0, lat=1), bottom_right=models.GeoPoint(lon=1, lat=0))
    assert count(must=[models.FieldCondition(key="place", geo_bounding_box=corner)]) == 0
    assert count(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="n"))]) == 1
    three = [models.FieldCondition(key="n", match=models.MatchValue(value=one)) for one in (1, 2, 3)]
    assert count(should=three) == 3
    assert count(min_should=models.MinShould(conditions=[some, *three], min_count=2)) == 1


def test_the_nearest_are_found(client: QdrantClient, docs: str) -> None:
    found = client.query_points(docs, query=[1, 0, 0, 0], limit=3).points
    assert len(found) == 3
    assert found[0].payload["city"] == "Rome"
    assert abs(found[0].score - 1) < 1e-5
    few = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=5, lt=8))])
    found = client.query_points(docs, query=[1, 0, 0, 0], query_filter=few).points
    assert sorted(one.payload["n"] for one in found) == [5, 6, 7]
    assert 3 not in [one.id for one in client.query_points(docs, query=3, limit=2).points]
    two = client.query_batch_points(docs, [models.QueryRequest(query=[1, 0, 0, 0], limit=1)] * 2)
    assert len(two) == 2
    liked = models.RecommendInput(positive=[2], negative=[3], strategy="best_score")
    assert client.query_points(docs, query=models.RecommendQuery(recommend=liked)).points
    assert client.query_points(docs, query=[1, 0, 0, 0], score_threshold=2).points == []


def test_points_are_retrieved_and_scrolled_through(client: QdrantClient, docs: str) -> None:
    found = client.retrieve(docs, [1, UUID], with_vectors=True)
    assert len(found) == 2 and len(found[0].vector) == 4
    seen, offset = [], None
    while True:
        rows, offset = client.scroll(docs, limit=6, offset=offset)
        seen += [row.id for row in rows]
        if offset is None:
            break
    assert len(seen) == len(set(seen)) == 21
    (row,) = client.scroll(docs, limit=1, with_payload=["city"])[0]
    assert set(row.payload) == {"city"}


def test_payload_has_indexes_that_count_and_sort(client: QdrantClient, docs: str) -> None:
    client.create_payload_index(docs, "city", models.PayloadSchemaType.KEYWORD)
    client.create_payload_index(docs, "n", "integer")
    assert client.get_collection(docs).payload_schema["city"].data_type == "keyword"
    hits = client.facet(docs, "city").hits
    assert {hit.value: hit.count for hit in hits} == {"Berlin": 10, "Paris": 10, "Rome": 1}
    rows = client.scroll(docs, order_by=models.OrderBy(key="n", direction="desc"), limit=2)[0]
    assert rows[0].payload["n"] == 19
    client.delete_payload_index(docs, "n")
    assert "n" not in client.get_collection(docs).payload_schema


def test_points_are_changed_and_deleted(client: QdrantClient, docs: str) -> None:
    client.set_payload(docs, {"x": 1}, points=[1])
    assert client.retrieve(docs, [1])[0].payload["x"] == 1
    assert client.retrieve(docs, [1])[0].payload["city"] == "Paris"
    client.set_payload(docs, {"y": 1}, points=city("Rome"))
    assert client.retrieve(docs, [UUID])[0].payload == {"city": "Rome", "y": 1}
    client.delete_payload(docs, ["x"], points=[1])
    assert "x" not in (client.retrieve(docs, [1])[0].payload or {})
    client.overwrite_payload(docs, {"only": True}, points=[2])
    assert client.retrieve(docs, [2])[0].payload == {"only": True}
    client.clear_payload(docs, points_selector=[2])
    assert client.retrieve(docs, [2])[0].payload == {}
    client.update_vectors(docs, [models.PointVectors(id=3, vector=[0, 1, 0, 0])])
    assert client.retrieve(docs, [3], with_vectors=True)[0].vector == [0, 1, 0, 0]
    client.delete(docs, points_selector=[0])
    assert client.count(docs).count == 20
    late = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=18))])
    client.delete(docs, points_selector=models.FilterSelector(filter=late))
    assert client.count(docs).count == 18
    steps = [
        models.DeleteOperation(delete=models.PointIdsList(points=[4])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"z": 1}, points=[5])),
    ]
    client.batch_update_points(docs, steps)
    assert client.count(docs).count == 17
    assert client.retrieve(docs, [5])[0].payload["z"] == 1


def test_aliases_lead_to_their_collection(client: QdrantClient, docs: str) -> None:
    made = models.CreateAlias(collection_name=docs, alias_name="live")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=made)])
    assert client.count("live").count == 21
    assert client.get_aliases().aliases[0].alias_name == "live"
    renamed = models.RenameAlias(old_alias_name="live", new_alias_name="now")
    client.update_collection_aliases([models.RenameAliasOperation(rename_alias=renamed)])
    assert client.collection_exists("now") and not client.collection_exists("live")


def test_dense_and_sparse_vectors_are_searched_together(client: QdrantClient) -> None:
    client.create_collection(
        "hybrid",
        vectors_config={"d": models.VectorParams(size=4, distance="Dot")},
        sparse_vectors_config={"s": models.SparseVectorParams()},
    )
    words = [models.SparseVector(indices=[number, 7], values=[1.0, 0.5]) for number in range(5)]
    points = [models.PointStruct(id=n, vector={"d": [float(n), 1, 0, 0], "s": one}) for n, one in enumerate(words)]
    client.upsert("hybrid", points)
    prefetch = [
        models.Prefetch(query=[1, 0, 0, 0], using="d", limit=5),
        models.Prefetch(query=models.SparseVector(indices=[2], values=[1.0]), using="s", limit=5),
    ]
    assert client.query_points("hybrid", prefetch=prefetch, query=models.FusionQuery(fusion="rrf")).points
    best = client.query_points("hybrid", query=models.SparseVector(indices=[2], values=[1.0]), using="s").points
    assert best[0].id == 2
    more = [models.PointStruct(id=100 + number, vector={"d": [float(number), 1, 0, 0]}) for number in range(300)]
    client.upload_points("hybrid", more, batch_size=100)
    assert client.count("hybrid").count == 305
    client.delete_collection("hybrid")


def test_a_snapshot_brings_a_collection_back(client: QdrantClient, server: Running, docs: str, tmp_path: Path) -> None:
    client.create_payload_index(docs, "city", models.PayloadSchemaType.KEYWORD)
    made = client.create_snapshot(docs, wait=True)
    assert made.size > 0
    assert len(client.list_snapshots(docs)) == 1
    content = server.ask("GET", f"/collections/{docs}/snapshots/{made.name}").content
    assert len(content) == made.size
    assert hashlib.sha256(content).hexdigest() == made.checksum
    kept = tmp_path / "kept.snapshot"
    kept.write_bytes(content)
    client.delete_collection(docs)
    client.recover_snapshot(docs, f"file://{kept}", priority="snapshot", wait=True)
    assert client.count(docs).count == 21
    assert "city" in client.get_collection(docs).payload_schema
    client.delete_snapshot(docs, made.name)
    assert client.list_snapshots(docs) == []
    client.delete_collection(docs)
    with kept.open("rb") as file:
        where = f"/collections/{docs}/snapshots/upload?priority=snapshot"
        assert server.ask("POST", where, files={"snapshot": file}).ok
    assert client.count(docs).count == 21
    kept.write_bytes(b"no snapshot")
    with pytest.raises(UnexpectedResponse) as refused:
        client.recover_snapshot(docs, f"file://{kept}", wait=True)
    assert refused.value.status_code == 400
    assert client.count(docs).count == 21, "what was there stays"


def test_keys_open_what_they_are_for(server: Running, docs: str) -> None:
    where = f"/collections/{docs}/points"
    assert server.ask("GET", "/healthz", None).status_code == 200
    for key in (None, "wrong", ""):
        assert server.ask("GET", "/collections", key).status_code == 401
    assert server.client("reading-key").count(docs).count == 21
    assert server.ask("PUT", where, "reading-key", json={"points": []}).status_code == 403
    assert server.ask("DELETE", f"/collections/{docs}", "reading-key").status_code == 403
    assert server.ask("GET", "/collections", "signing-key").status_code == 200
    by_bearer = requests.get(f"{server.url}/collections", headers={"Authorization": "Bearer full-key"}, timeout=60)
    assert by_bearer.status_code == 200
    assert "collection_points" in server.ask("GET", "/metrics").text
    assert server.ask("GET", "/metrics", None).status_code == 401
    assert server.ask("GET", "/collections/none").status_code == 404


def token(key: str, algorithm: str = "HS256", **claims: Any) -> str:
    """A JSON Web Token as any library makes it."""
    parts = [json.dumps({"alg": algorithm, "typ": "JWT"}), json.dumps(claims)]
    text = ".".join(base64.urlsafe_b64encode(part.encode()).rstrip(b"=").decode() for part in parts)
    made = hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(made).rstrip(b'=').decode()}"


def test_tokens_are_as_good_as_what_they_claim(server: Running, client: QdrantClient, docs: str) -> None:
    where, body = f"/collections/{docs}/points/count", {"exact": True}

    def status(key: str, method: str = "POST", path: str = where) -> int:
        return server.ask(method, path, key, json=body).status_code

    assert status(token("signing-key", access="m")) == status(token("full-key")) == 200
    assert status(token("signing-key", access="m", exp=time.time() + 60)) == 200
    assert status(token("signing-key", access="m", exp=time.time() - 60)) == 403
    assert status(token("another-key", access="m")) == 403
    assert status(token("signing-key", "none", access="m")) == 401
    assert status("a.b.c") == status("a.b") == 401
    assert status(token("signing-key", access="r")) == 200
    assert status(token("signing-key", access="r"), "DELETE", f"/collections/{docs}") == 403
    assert status(token("signing-key", access=[{"collection": docs, "access": "rw"}])) == 501

    wanted = {"collection": docs, "matches": [{"key": "who", "value": "me"}]}
    mine = token("signing-key", access="m", value_exists=wanted)
    assert status(mine) == 401
    client.set_payload(docs, {"who": "me"}, points=[7])
    assert status(mine) == 200
    client.delete_payload(docs, ["who"], points=[7])
    assert status(mine) == 401


ABSENT = (
    ("POST", "/snapshots", {}),
    ("GET", "/cluster", None),
    ("POST", "/collections/docs/points/query/groups", {"query": [1, 0, 0, 0], "group_by": "city"}),
    ("POST", "/collections/docs/points/query", {"query": {"context": []}}),
    ("POST", "/collections/docs/points/query", {"query": [1, 0, 0, 0], "lookup_from": {"collection": "x"}}),
    ("POST", "/collections/docs/points/count", {"filter": {"must": [{"key": "n", "odd": 1}]}}),
    ("POST", "/collections/docs/points/count", {"filter": {"may": []}}),
    (
        "PUT",
        "/collections/new",
        {"vectors": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
    ),
    ("PUT", "/collections/new", {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2}),
    ("PUT", "/collections/new", {"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": {"scalar": {}}}),
)


@pytest.mark.parametrize(("method", "path", "body"), ABSENT)
def test_what_is_absent_is_refused_and_says_so(
    server: Running, client: QdrantClient, docs: str, method: str, path: str, body: Any
) -> None:
    answer = server.ask(method, path, json=body)
    assert answer.status_code == 501
    assert "this is a stand-in over qdrant-edge" in answer.json()["status"]["error"]
    assert not client.collection_exists("new")


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"points": 3}', b'{"points": [{"id": -1, "vector": [1]}]}'])
def test_what_can_not_be_read_is_refused_and_changes_nothing(
    server: Running, client: QdrantClient, docs: str, body: bytes
) -> None:
    assert server.ask("PUT", f"/collections/{docs}/points", data=body).status_code == 400
    assert client.count(docs).count == 21


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    server = Running(tmp_path)
    try:
        client = server.client()
        some = random.Random(2)
        client.create_collection("big", vectors_config=models.VectorParams(size=384, distance="Cosine"))
        points = [
            models.PointStruct(id=n, vector=[some.random() for _ in range(384)], payload={"n": n}) for n in range(1000)
        ]
        client.upload_points("big", points, batch_size=200, wait=True)
        client.create_payload_index("big", "n", "integer")
        client.delete("big", points_selector=[3])
        server.end(signal.SIGKILL)
        server.start()
        assert client.count("big").count == 999
        assert client.query_points("big", query=points[500].vector, limit=1).points[0].id == 500
        assert client.retrieve("big", [3]) == []
        assert "n" in client.get_collection("big").payload_schema
    finally:
        server.end(signal.SIGTERM)


def test_it_is_called_as_what_it_is(server: Running) -> None:
    told = server.ask("GET", "/").json()
    version = importlib.metadata.version("qdrant-edge-py")
    assert told["commit"] == f"stand-in over qdrant-edge {version}"
    assert f"qdrant-edge {version}" in (paths.STACKS / "qdrant" / "stack.yml").read_text()
    assert f"qdrant-edge-py=={version}" in (LAB / "Dockerfile").read_text()
