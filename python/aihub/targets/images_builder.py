"""How `images` gets an image into the lab's registry: from what the machine has, else by a recipe in the builder."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aihub import process

PVELAB = str(Path(sys.executable).parent / "pvelab")
BASE = "debian:trixie-slim"  # what lab Dockerfiles start from
_BUILD_SECONDS = 3600.0  # with the wait for another lab that builds the same

# The base of all lab builds: Debian's minimal system from the builder's own package sources.
_BASE_RECIPE = """set -e
image=$1:$LAB_TAG
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null > "$work/sources.list" || true
set -- "$work/sources.list"
for file in /etc/apt/sources.list.d/*.sources; do if [ -e "$file" ]; then set -- "$@" "$file"; fi; done
mmdebstrap --variant=minbase --quiet \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --aptopt='Acquire::Languages "none"' --dpkgopt=force-unsafe-io \
  --customize-hook='printf "#!/bin/sh\\nexit 101\\n" > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
  trixie "$work/base.tar" "$@" >&2
docker import --change "LABEL io.aihub.lab-build=true" "$work/base.tar" "$image"
docker push --quiet "$image"
"""

# The builder's trust store and package clients' settings reach a build as secrets: they end up in no image.
# --pull: what a Dockerfile starts from is what the registry has now, not what an earlier build left here.
_BUILD = """set -e
image=$1:$LAB_TAG; shift
for pair in ca=/etc/ssl/certs/ca-certificates.crt environment=/etc/lab/environment \
            pip=/etc/pip.conf go=/root/.config/go/env; do
  if [ -s "${pair#*=}" ]; then set -- "$@" --secret "id=${pair%%=*},src=${pair#*=}"; fi
done
docker buildx build --progress=plain --pull --label io.aihub.lab-build=true --tag "$image" "$@" -
"""

_PUSH = """docker push --quiet "$image"
"""

# The image that holds a language model pushes it by the engine's own client.
_PUSH_MODEL = """docker run --rm --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro "$image" "$model:$LAB_TAG"
"""


@dataclass(frozen=True)
class Taken:
    """How the lab came to an image."""

    key: str
    outcome: str  # built | reused
    seconds: float

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Taken:
        """What pvelab says of it."""
        return cls(item["key"], item["outcome"], item["seconds"])

    def __str__(self) -> str:
        took = f" in {self.seconds:.0f} s" if self.outcome == "built" else ""
        return f"{self.outcome}{took} ({self.key})"


@dataclass(frozen=True)
class Recipe:
    """What `pvelab image` runs in the builder: a shell script, its arguments and its standard input."""

    script: str
    arguments: tuple[str, ...]
    stdin: bytes = b""

    def digest(self, *beside: str) -> str:
        """Names what goes into the image; `beside`: the digests of what it is made from."""
        whole = hashlib.sha256()
        for part in (self.script, *self.arguments, *beside):
            whole.update(hashlib.sha256(part.encode()).digest())
        whole.update(self.stdin)
        return whole.hexdigest()


BASE_RECIPE = Recipe(_BASE_RECIPE, (BASE.rpartition(":")[0],))


def image_recipe(name: str, context: bytes, arguments: Sequence[str]) -> Recipe:
    """Builds an image from a tar with a Dockerfile."""
    return Recipe(_BUILD + _PUSH, (name, *arguments), context)


def model_recipe(image: str, model: str, context: bytes, arguments: Sequence[str]) -> Recipe:
    """Builds an image that holds a language model, and lets it push the model."""
    return Recipe(f"model=$1; shift\n{_BUILD}{_PUSH_MODEL}", (model, image, *arguments), context)


def reuse(lab: str, wanted: Mapping[str, str]) -> dict[str, Taken]:
    """Of images by HOST/REPOSITORY:TAG, each with its digest: those that the machine has; the lab now serves them.

    Needs no builder, so that a lab that gets everything from the cache never starts one.
    """
    pairs = [f"{reference}={digest}" for reference, digest in wanted.items()]
    found = json.loads(process.run([PVELAB, "reuse", lab, *pairs], timeout=300).stdout)
    return {item["name"]: Taken.of(item) for item in found}


def make(lab: str, reference: str, digest: str, recipe: Recipe) -> Taken:
    """The same for one image, made by its recipe unless the machine has it by now."""
    argv = [PVELAB, "image", lab, reference, digest, "--", "sh", "-c", recipe.script, "sh", *recipe.arguments]
    # The builder that this may start outlives the run, and a build that goes on after a kill is there for the next one.
    done = process.run(argv, stdin=recipe.stdin, timeout=_BUILD_SECONDS, lasting=True)
    return Taken.of(json.loads(done.stdout))
