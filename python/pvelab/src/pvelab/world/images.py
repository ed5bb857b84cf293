"""Container images of the labs: made once on this machine, served by each lab's registry under the name asked for.

The files are laid out as the registry program wants them: the content lies in `blobs`, by digest; a repository holds
small files with a digest in them, so-called links. All labs share the blobs. Names are a lab's own, so that two
checkouts may mean different things by one name. What knows this layout is here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import artifacts, sources, verified
from .artifacts import Made, Record, Taken
from .errors import LabError
from .lab import Config, Lab

SUITE = "trixie"  # what the builder and its base images are made from
KIND = "image"


def storage() -> Path:
    """The directory that every lab's registry gets as its own."""
    return artifacts.root() / "images"


def home(lab: Lab) -> Path:
    """A lab's part of the storage."""
    return storage() / "labs" / lab.name


def prepare(lab: Lab) -> None:
    """Makes the lab's part of the storage, with the blobs of all labs in it."""
    (storage() / "blobs").mkdir(parents=True, exist_ok=True)
    inner = _inner(lab)
    inner.mkdir(parents=True, exist_ok=True)
    blobs = inner / "blobs"
    if not blobs.is_symlink():
        blobs.symlink_to("../" * 5 + "blobs")


def _inner(lab: Lab) -> Path:
    return home(lab) / "docker" / "registry" / "v2"


def key(inputs: str, week: str) -> str:
    """Names an image: what its maker put in, and the packages that this machine gets."""
    return artifacts.key_of(inputs, *sources.index(SUITE, week))


def ensure(lab: Lab, config: Config, reference: str, inputs: str, push: Callable[[str], object]) -> Taken:
    """Lets the lab's registry answer to `HOST/REPOSITORY:TAG` with the image that was made from `inputs`.

    When there is none, `push(TAG)` is to make it and to push it to the same repository under that tag.
    """
    repository, tag = _parts(reference, config)
    name = key(inputs, lab.week)

    def make() -> Made:
        prepare(lab)
        push(name)
        return _pushed(lab, repository, name)

    taken = artifacts.ensure(lab, KIND, reference, name, make, _sound)
    _serve(lab, repository, tag, taken.details)
    return taken


def reuse(lab: Lab, config: Config, reference: str, inputs: str) -> Taken | None:
    """The same, when there is such an image; else None."""
    repository, tag = _parts(reference, config)
    taken = artifacts.reuse(lab, KIND, reference, key(inputs, lab.week), _sound)
    if taken is not None:
        _serve(lab, repository, tag, taken.details)
    return taken


def _parts(reference: str, config: Config) -> tuple[str, str]:
    """Repository, with its host, and tag."""
    name, _, tag = reference.rpartition(":")
    host, _, repository = name.partition("/")
    if not (tag and repository and "/" not in tag) or host not in config.registry_names:
        hosts = ", ".join(config.registry_names) or "none"
        raise LabError(f"{reference!r} is no image of the lab's registry", hint=f"HOST/REPOSITORY:TAG; hosts: {hosts}")
    return name, tag


def _repository(lab: Lab, repository: str) -> Path:
    return _inner(lab) / "repositories" / repository


def _pushed(lab: Lab, repository: str, tag: str) -> Made:
    """What the registry holds under a tag: the files, and what names lead to them."""
    try:
        digest = (_repository(lab, repository) / "_manifests/tags" / tag / "current/link").read_text().strip()
    except FileNotFoundError as error:
        raise LabError(f"the build ended without pushing {repository}:{tag}") from error
    manifests, blobs = [digest], list[str]()
    for found in manifests:
        content = json.loads((storage() / _blob(found)).read_text())
        manifests += [part["digest"] for part in content.get("manifests", [])]
        blobs += [part["digest"] for part in (*content.get("layers", []), *filter(None, [content.get("config")]))]
    broken = [one for one in (*manifests, *blobs) if not _matches(one)]
    if broken:
        raise LabError(f"what was pushed as {repository}:{tag} is not what its digests say: {', '.join(broken)}")
    files = [f"{storage().name}/{_blob(one)}" for one in {*manifests, *blobs}]
    return Made(files, {"digest": digest, "manifests": manifests, "blobs": blobs})


def _sound(record: Record) -> bool:
    """False when a blob is not what its digest says: the registries of all labs write there. Such a blob goes."""
    broken = [one for one in (*record.details["manifests"], *record.details["blobs"]) if not _matches(one)]
    for digest in broken:
        (storage() / _blob(digest)).unlink(missing_ok=True)
    return not broken


def _matches(digest: str) -> bool:
    return verified.matches(storage() / _blob(digest), digest, artifacts.root() / "verified")


def _blob(digest: str) -> str:
    kind, _, name = digest.partition(":")
    return f"blobs/{kind}/{name[:2]}/{name}/data"


def _serve(lab: Lab, repository: str, tag: str, details: Mapping[str, Any]) -> None:
    """Writes the links that make an image known to a lab's registry; the tag comes last."""
    prepare(lab)
    here = _repository(lab, repository)
    for path, digest in _links(tag, details):
        link = here / path / "link"
        link.parent.mkdir(parents=True, exist_ok=True)
        part = link.with_name(f".{link.name}")
        part.write_text(digest)
        part.rename(link)


def _links(tag: str, details: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    def folder(digest: str) -> str:
        return digest.replace(":", "/")

    named: Iterable[tuple[str, Iterable[str]]] = (
        ("_layers", details["blobs"]),
        ("_manifests/revisions", details["manifests"]),
        (f"_manifests/tags/{tag}/index", [details["digest"]]),
    )
    for place, digests in named:
        yield from ((f"{place}/{folder(digest)}", digest) for digest in digests)
    yield f"_manifests/tags/{tag}/current", details["digest"]
