"""Collections on disk, each a shard of qdrant-edge, with their aliases and snapshots."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tarfile
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import qdrant_edge as edge
from wire import Json, Refused, absent, filtered, only

_TUNING = "hnsw_config optimizers_config wal_config on_disk_payload strict_mode_config"
_ONCE = "shard_number replication_factor write_consistency_factor"


class Store:
    """What lies below a folder; the caller lets in one thread at a time."""

    def __init__(self, root: Path, snapshots: Path) -> None:
        self._root, self._snapshots = root, snapshots
        self.upload = root / "upload.snapshot"
        self.collections: dict[str, Json] = {}
        self.aliases: dict[str, str] = {}
        self._shards: dict[str, Any] = {}
        (root / "collections").mkdir(parents=True, exist_ok=True)
        if (root / "meta.json").exists():
            kept = json.loads((root / "meta.json").read_text())
            self.collections, self.aliases = kept["collections"], kept["aliases"]
        for name in self.collections:
            self._load(name)
        for folder in (root / "collections").iterdir():
            if folder.name not in self.collections:  # killed while it was made or removed
                shutil.rmtree(folder)

    def close(self) -> None:
        """Everything is on disk."""
        for shard in self._shards.values():
            shard.close()

    def _keep(self) -> None:
        draft = self._root / "meta.tmp"
        with draft.open("w") as out:
            json.dump({"collections": self.collections, "aliases": self.aliases}, out)
            out.flush()
            os.fsync(out.fileno())
        draft.rename(self._root / "meta.json")

    def _folder(self, name: str) -> Path:
        return self._root / "collections" / name

    def _load(self, name: str) -> None:
        self._shards[name] = edge.EdgeShard.load(str(self._folder(name)))

    def name_of(self, name: str) -> str:
        """The collection of that name or alias. Raises Refused."""
        found = self.aliases.get(name, name)
        if found not in self._shards:
            raise Refused(404, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def shard(self, name: str) -> Any:
        """Its shard."""
        return self._shards[self.name_of(name)]

    def exists(self, collection: str, payload: Mapping[str, Json]) -> bool:
        """Whether a collection has a point with these payload values."""
        if collection not in self._shards:
            return False
        wanted = {"must": [{"key": key, "match": {"value": value}} for key, value in payload.items()]}
        return bool(self._shards[collection].count(edge.CountRequest(True, filtered(wanted))))

    def points(self) -> dict[str, int]:
        """How many each collection has."""
        return {name: shard.info().points_count for name, shard in self._shards.items()}

    def create(self, name: str, wanted: Json) -> None:
        """A new collection. Raises Refused for one that is there, and for what a shard can't be."""
        if name in self.collections or name in self.aliases:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
        if not name or "/" in name or name in (".", "..") or len(name.encode()) > 255:
            raise Refused(422, "Validation error in path: [name: must be 1 to 255 characters without /]")
        only(wanted, f"vectors sparse_vectors {_TUNING} {_ONCE}", "a collection")
        for word in _ONCE.split():
            if wanted.get(word) not in (None, 1):
                raise absent(f"`{word}` but 1")
        config = _config(wanted)
        self._folder(name).mkdir(parents=True)
        self._shards[name] = edge.EdgeShard.create(str(self._folder(name)), config)
        self.collections[name] = wanted
        self._keep()

    def tune(self, name: str, wanted: Json) -> None:
        """Other settings of a collection that is there, as far as they change no result."""
        only(wanted, _TUNING, "an update of a collection")
        self.collections[self.name_of(name)].update(wanted)
        self._keep()

    def delete(self, name: str) -> bool:
        """Removes a collection with its points and aliases; False if there was none."""
        if name not in self._shards:
            return False
        self._shards.pop(name).close()
        self.collections.pop(name)
        self.aliases = {alias: one for alias, one in self.aliases.items() if one != name}
        self._keep()
        shutil.rmtree(self._folder(name))
        return True

    def rename(self, actions: list[Json]) -> None:
        """Aliases are made, taken away and renamed, all or none of them."""
        after = dict(self.aliases)
        for action in actions:
            ((word, value),) = action.items()
            if word == "create_alias":
                after[value["alias_name"]] = self.name_of(value["collection_name"])
            elif word == "delete_alias":
                after.pop(value["alias_name"], None)
            elif value["old_alias_name"] in after:
                after[value["new_alias_name"]] = after.pop(value["old_alias_name"])
            else:
                raise Refused(404, f"Not found: Alias {value['old_alias_name']} does not exists!")
        self.aliases = after
        self._keep()

    # -- snapshots: a tar of a shard, which Qdrant itself does not read

    def snapshots(self, name: str) -> list[Json]:
        """Those of a collection."""
        folder = self._snapshots / self.name_of(name)
        return [_described(file) for file in sorted(folder.iterdir())] if folder.exists() else []

    def snapshot_file(self, name: str, file: str) -> Path:
        """Where one lies. Raises Refused."""
        found = self._snapshots / self.name_of(name) / Path(file).name
        if not found.is_file():
            raise Refused(404, f"Not found: Snapshot {file} not found")
        return found

    def snapshot(self, name: str) -> Json:
        """A new one."""
        name = self.name_of(name)
        folder = self._snapshots / name
        folder.mkdir(parents=True, exist_ok=True)
        made = f"{name}-{uuid.uuid4().int % 10**16}-{datetime.now(UTC):%Y-%m-%d-%H-%M-%S}.snapshot"
        settings = self._root / "config.json"
        settings.write_text(json.dumps(self.collections[name]))
        self._shards.pop(name).close()
        try:
            with tarfile.open(folder / made, "w") as out:
                out.add(self._folder(name), "shard")
                out.add(settings, "config.json")
        finally:
            self._load(name)
        return _described(folder / made)

    def recover(self, name: str, file: Path) -> None:
        """A collection is as a snapshot has it. Raises Refused for a file that is none."""
        work = self._root / "tmp"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            with tarfile.open(file) as kept:
                kept.extractall(work, filter="data")
            settings = json.loads((work / "config.json").read_text())
            edge.EdgeShard.load(str(work / "shard")).close()
        except Exception as error:  # the engine has no class of its own for what it can't load
            raise Refused(400, "Wrong input: that is no snapshot of this stand-in") from error
        if name in self._shards:
            self._shards.pop(name).close()
        shutil.rmtree(self._folder(name), ignore_errors=True)
        (work / "shard").rename(self._folder(name))
        self.collections[name] = settings
        self._keep()
        self._load(name)


def _described(file: Path) -> Json:
    made = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    with file.open("rb") as content:
        checksum = hashlib.file_digest(content, "sha256").hexdigest()
    size = file.stat().st_size
    return {"name": file.name, "creation_time": f"{made:%Y-%m-%dT%H:%M:%S}", "size": size, "checksum": checksum}


def _config(wanted: Json) -> Any:
    vectors, sparse = wanted.get("vectors") or {}, wanted.get("sparse_vectors") or {}
    for name, one in sparse.items():
        only(one, "index", f"the sparse vectors {name}")
    dense = _dense(vectors) if "size" in vectors else {name: _dense(one) for name, one in vectors.items()}
    found = {name: edge.EdgeSparseVectorParams() for name in sparse}
    if not dense and not found:
        raise absent("collections without vectors")
    return edge.EdgeConfig(vectors=dense or None, sparse_vectors=found or None)


def _dense(wanted: Json) -> Any:
    only(wanted, "size distance on_disk hnsw_config", "vectors")
    return edge.EdgeVectorParams(size=wanted["size"], distance=getattr(edge.Distance, wanted["distance"]))
