"""Everything that the whole hub keeps is copied; a database, a cache and a vector store are lost and come back."""

from __future__ import annotations

import json

import pytest

from tests.lab.cli import Cli

pytestmark = pytest.mark.lab
ROLE = "canary_monitoring_main"
PSQL = f"docker exec -i postgres-postgres-1 psql -qXAt -v ON_ERROR_STOP=1 -U {ROLE}_a {ROLE}"
CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"
ASK = """
import json, sys, urllib.request
method, path, body = sys.argv[1:]
sent, form = body.encode() or None, {"Content-Type": "application/json"}
request = urllib.request.Request("http://127.0.0.1:8000" + path, sent, form, method=method)
with urllib.request.urlopen(request, timeout=30) as answer:
    print(answer.read().decode())
"""


def chroma(hub: Cli, method: str, path: str = "", body: object = None) -> dict:
    """What Chroma answers on its guest."""
    text = json.dumps(body) if body is not None else ""
    return json.loads(hub.on("private-ai", f"python3 - {method} {CHROMA}{path} '{text}'", ASK) or "null")


def test_what_the_hub_keeps_is_copied_whole_and_comes_back(hub: Cli):
    hub.on(
        "db",
        PSQL,
        "CREATE TABLE kept (n int, v vector(3)); INSERT INTO kept SELECT i, '[1,2,3]' FROM generate_series(1, 500) i;",
    )
    made = chroma(hub, "POST", body={"name": "kept"})
    chroma(hub, "POST", f"/{made['id']}/add", {"ids": ["a"], "embeddings": [[0.5, 1.0]], "documents": ["words"]})
    try:
        hub.ok("backup")
        told = hub("backups", "--json")
        found = json.loads(told.stdout)["copies"]
        assert told.returncode == 0, [one for one in found if one["late"] or one["wrong"] or one["error"]]
        assert {"vault@security", "qdrant@public-ai", "open-webui@private-ai", "litellm@public-ai"} <= {
            one["owner"] for one in found
        }
        hub.on("db", PSQL, "DELETE FROM kept WHERE n > 1; CREATE TABLE wrong (n int);")
        chroma(hub, "DELETE", "/kept")
        hub.ok("restore", "canary@monitoring", "chroma@private-ai")
        assert (
            hub.on("db", PSQL, "SELECT count(*), max(v::text) FROM kept; SELECT to_regclass('wrong') IS NULL;")
            == "500|[1,2,3]\nt"
        )
        got = chroma(hub, "POST", f"/{made['id']}/get", {"include": ["documents", "embeddings"]})
        assert (got["documents"], got["embeddings"]) == (["words"], [[0.5, 1.0]])
    finally:
        hub.on("db", PSQL, "DROP TABLE IF EXISTS kept, wrong;")
        chroma(hub, "DELETE", "/kept")
    hub.settles()
