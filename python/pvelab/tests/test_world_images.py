"""Images: made once, served by each lab's registry under the names that this lab asked for."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pvelab.world import artifacts, images, lab
from pvelab.world.errors import LabError
from pvelab.world.lab import Config, Lab

NAME = "ghcr.io/owner/name"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty cache and two labs."""
    monkeypatch.setenv("PVELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(artifacts.REPORT, raising=False)
    monkeypatch.setattr(lab, "STATES", tmp_path / "states")
    monkeypatch.setattr(lab, "RUNTIME", tmp_path / "run")
    for name in ("a", "b"):
        Lab(name).state.mkdir(parents=True)
        images.prepare(Lab(name))
    return tmp_path


@pytest.fixture
def config() -> Config:
    node = {"name": "pve", "address": "192.168.1.10", "subnet": "192.168.1.0/24"}
    return Config.parse({"node": node, "registry_names": ["ghcr.io"]})


def store(content: bytes) -> str:
    """Puts a blob where the registry program would; returns its digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    file = images.storage() / images._blob(digest)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return digest


def pushes(where: Lab, layer: bytes, *, index: bool = False) -> Callable[[str], None]:
    """What a build does: an image with one layer is pushed under the tag that it was told."""

    def push(tag: str) -> None:
        parts = {"config": {"digest": store(b"{}")}, "layers": [{"digest": store(layer)}]}
        digest = store(json.dumps(parts).encode())
        if index:
            digest = store(json.dumps({"manifests": [{"digest": digest}]}).encode())
        link = registry(where) / NAME / "_manifests/tags" / tag / "current/link"
        link.parent.mkdir(parents=True)
        link.write_text(digest)

    return push


def registry(where: Lab) -> Path:
    return images.home(where) / "docker/registry/v2/repositories"


def answers(where: Lab, reference: str) -> bytes:
    """The layer that a lab's registry answers with; every link on the way must be there, as the program checks."""
    name, _, tag = reference.rpartition(":")
    here = registry(where) / name

    def blob(digest: str) -> bytes:
        return (images.home(where) / "docker/registry/v2" / images._blob(digest)).read_bytes()

    digest = (here / "_manifests/tags" / tag / "current/link").read_text()
    assert (here / "_manifests/tags" / tag / "index" / digest.replace(":", "/") / "link").read_text() == digest
    while True:
        assert (here / "_manifests/revisions" / digest.replace(":", "/") / "link").read_text() == digest
        manifest = json.loads(blob(digest))
        if "layers" in manifest:
            break
        digest = manifest["manifests"][0]["digest"]
    for part in (manifest["config"], *manifest["layers"]):
        assert (here / "_layers" / part["digest"].replace(":", "/") / "link").read_text() == part["digest"]
    return blob(manifest["layers"][0]["digest"])


def never(tag: str) -> None:
    raise AssertionError("built although it is there")


@pytest.mark.parametrize("index", [False, True])
def test_an_image_is_built_once_and_served_by_every_lab(config: Config, index: bool) -> None:
    a, b = Lab("a"), Lab("b")
    assert images.reuse(b, config, f"{NAME}:1", "x") is None
    assert images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"layer", index=index)).outcome == "built"
    assert images.ensure(b, config, f"{NAME}:1", "x", never).outcome == "reused"
    assert answers(a, f"{NAME}:1") == answers(b, f"{NAME}:1") == b"layer"
    other = images.reuse(b, config, "ghcr.io/other/name:2", "x")
    assert other is not None
    assert answers(b, "ghcr.io/other/name:2") == b"layer"


def test_two_labs_may_mean_different_things_by_one_name(config: Config) -> None:
    a, b = Lab("a"), Lab("b")
    images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"of a"))
    images.ensure(b, config, f"{NAME}:1", "y", pushes(b, b"of b"))
    assert (answers(a, f"{NAME}:1"), answers(b, f"{NAME}:1")) == (b"of a", b"of b")
    images.ensure(a, config, f"{NAME}:1", "y", never)
    assert answers(a, f"{NAME}:1") == b"of b"


def test_an_image_whose_blob_is_gone_is_built_again(config: Config) -> None:
    a = Lab("a")
    images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"layer"))
    (images.storage() / images._blob(f"sha256:{hashlib.sha256(b'layer').hexdigest()}")).unlink()
    assert images.reuse(a, config, f"{NAME}:1", "x") is None


def test_a_build_that_pushed_nothing_is_no_image(config: Config) -> None:
    with pytest.raises(LabError, match="without pushing ghcr"):
        images.ensure(Lab("a"), config, f"{NAME}:1", "x", lambda tag: None)
    assert images.reuse(Lab("a"), config, f"{NAME}:1", "x") is None


@pytest.mark.parametrize(
    "reference", ["ghcr.io/owner/name", "quay.io/owner/name:1", "name:1", "ghcr.io/:1", "ghcr.io/x:"]
)
def test_a_name_that_the_registry_does_not_answer_to_is_refused(config: Config, reference: str) -> None:
    with pytest.raises(LabError, match="no image of the lab's registry"):
        images.reuse(Lab("a"), config, reference, "x")


def test_the_images_of_another_lab_stay_when_one_goes(config: Config) -> None:
    a, b = Lab("a"), Lab("b")
    images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"layer"))
    images.ensure(b, config, f"{NAME}:1", "x", never)
    a.artifacts.unlink()
    a.state.rmdir()
    artifacts.trim(0)
    assert not images.home(a).exists()
    assert answers(b, f"{NAME}:1") == b"layer"


@pytest.mark.parametrize("part", [b"layer", b"{}"])
def test_what_somebody_wrote_over_a_blob_reaches_no_lab(config: Config, part: bytes) -> None:
    """A lab's registry may write where all labs read; its guests are not trusted, and it is what they talk to."""
    a, b = Lab("a"), Lab("b")
    images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"layer"))
    assert images.reuse(b, config, f"{NAME}:1", "x") is not None
    blob = images.storage() / images._blob(f"sha256:{hashlib.sha256(part).hexdigest()}")
    times = blob.stat()
    blob.write_bytes(b"X" * len(part))
    os.utime(blob, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert images.reuse(b, config, f"{NAME}:1", "x") is None
    assert images.ensure(b, config, f"{NAME}:1", "x", pushes(b, b"layer")).outcome == "built"
    assert answers(b, f"{NAME}:1") == b"layer"
    assert images.reuse(a, config, f"{NAME}:1", "x") is not None


def test_what_was_pushed_and_is_not_what_its_digest_says_is_no_image(config: Config) -> None:
    a = Lab("a")

    def push(tag: str) -> None:
        pushes(a, b"layer")(tag)
        (images.storage() / images._blob(f"sha256:{hashlib.sha256(b'layer').hexdigest()}")).write_bytes(b"other")

    with pytest.raises(LabError, match="is not what its digests say: sha256:"):
        images.ensure(a, config, f"{NAME}:1", "x", push)


def test_what_was_read_through_is_not_read_again(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    a = Lab("a")
    images.ensure(a, config, f"{NAME}:1", "x", pushes(a, b"layer"))
    monkeypatch.setattr(hashlib, "file_digest", never)
    assert images.reuse(a, config, f"{NAME}:1", "x") is not None
