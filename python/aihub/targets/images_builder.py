"""What `images` does in the lab's builder, through `pvelab exec`: build and push; and asking the registry."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from aihub import process

PVELAB = str(Path(sys.executable).parent / "pvelab")
BASE = "debian:trixie-slim"  # what lab Dockerfiles start from
_BUILD_SECONDS = 1800.0

# Asks the lab's registry for two tags each and prints, as JSON, which pairs show the same digest. Runs in the lab's
# network namespace; outside of it the registries' names lead elsewhere, so every name is taken for the lab's address.
_CURRENT = """
import concurrent.futures, json, socket, ssl, sys, urllib.error, urllib.request
address, authority, entries = json.loads(sys.argv[1])
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **options: resolve(address, *rest, **options)
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority))
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust)
accept = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
def digest(host, repository, tag):
    url = f"https://{host}/v2/{repository}/manifests/{tag}"
    request = urllib.request.Request(url, method="HEAD", headers={"Accept": accept})
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.headers["Docker-Content-Digest"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise
def same(entry):
    host, repository, tag, mark = entry
    found = digest(host, repository, tag)
    return found is not None and found == digest(host, repository, mark)
with concurrent.futures.ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(same, entries))))
"""

# The base of all lab builds: Debian's minimal system from the builder's own package sources.
_BASE_RECIPE = """set -e
name=$1 mark=$2
if [ "$(docker image inspect --format '{{index .Config.Labels "io.aihub.base"}}' "$name" 2>/dev/null)" = "$mark" ]; then
  exit 0
fi
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null > "$work/sources.list" || true
set -- "$work/sources.list"
for file in /etc/apt/sources.list.d/*.sources; do if [ -e "$file" ]; then set -- "$@" "$file"; fi; done
mmdebstrap --variant=minbase --quiet \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --customize-hook='printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
  trixie "$work/base.tar" "$@" >&2
docker import --change "LABEL io.aihub.base=$mark io.aihub.lab-build=true" "$work/base.tar" "$name"
"""

# The builder's trust store and package clients' settings reach a build as secrets: they end up in no image.
_BUILD = """set -e
image=$1; shift
for pair in ca=/etc/ssl/certs/ca-certificates.crt environment=/etc/lab/environment \
            pip=/etc/pip.conf go=/root/.config/go/env; do
  if [ -s "${pair#*=}" ]; then set -- "$@" --secret "id=${pair%%=*},src=${pair#*=}"; fi
done
exec docker buildx build --progress=plain --label io.aihub.lab-build=true --tag "$image" "$@" -
"""

_PUSH = """set -e
docker tag "$1" "$2"
docker push --quiet "$2"
docker push --quiet "$1"
"""

_PUSH_MODEL = """set -e
image=$1; shift
exec docker run --rm --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro "$image" "$@"
"""

BASE_MARK = hashlib.sha256(_BASE_RECIPE.encode()).hexdigest()[:16]


def current(lab: str, entries: Sequence[tuple[str, str, str, str]]) -> list[bool]:
    """For each (host, repository, tag, mark): whether the registry shows the same digest for tag and mark.

    Needs no builder, so that a lab with everything in its registry never starts one.
    """
    world = json.loads(process.run([PVELAB, "status", lab], timeout=60).stdout)
    registry = world["registry"]
    question = json.dumps([registry["address"], registry["ca"], entries])
    inside = ["nsenter", f"--net=/run/netns/{world['netns']}", sys.executable, "-c", _CURRENT, question]
    found: list[bool] = json.loads(process.run(inside, timeout=300).stdout)
    return found


def make_base(lab: str) -> None:
    """Makes the base image unless the builder has it."""
    _run(lab, ["sh", "-c", _BASE_RECIPE, "sh", BASE, BASE_MARK])


def build(lab: str, image: str, context: bytes, arguments: Sequence[str]) -> None:
    """Builds an image from a tar with a Dockerfile."""
    _run(lab, ["sh", "-c", _BUILD, "sh", image, *arguments], stdin=context)


def push(lab: str, name: str, mark: str) -> None:
    """Pushes an image under its marking name, then under its own."""
    _run(lab, ["sh", "-c", _PUSH, "sh", name, mark])


def push_model(lab: str, image: str, *names: str) -> None:
    """Lets an image that holds a language model push it under the given names."""
    _run(lab, ["sh", "-c", _PUSH_MODEL, "sh", image, *names])


def _run(lab: str, argv: Sequence[str], *, stdin: bytes = b"") -> None:
    process.run([PVELAB, "exec", lab, "builder", "--", *argv], stdin=stdin, timeout=_BUILD_SECONDS)
