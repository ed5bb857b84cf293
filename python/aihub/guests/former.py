"""The former version of an instance on its guest: its files and its data, set aside before an update.

It lies on the guest itself, beside the data, so that the way back takes a rename and not a transfer.
"""

from __future__ import annotations

import shlex

from aihub import names, ssh
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.model.copying import copied
from aihub.model.resolved import Instance
from aihub.state.directory import State

FOLDER = "/var/lib/hub/.former"
_SECONDS = 4 * 3600.0
_NO_ROOM = 28  # exit code: ENOSPC
_SPARE = 512 << 10  # KiB that stay free

# What is kept is whole once `whole` is there. The instance is stopped, so that files and data belong together.
_KEEP = """
set -eu
rm -rf "$former"; systemctl stop "$unit"; mkdir -p -m 700 "$former/data"
need=0; for v in $volumes; do [ ! -d "$data/$v" ] || need=$((need + $(du -sk "$data/$v" | cut -f1))); done
free=$(df -k --output=avail "$former" | tail -n 1)
if [ $((need + spare)) -gt "$free" ]; then
  rm -rf "$former"; systemctl start "$unit" || true; echo "$need KiB of data, $free KiB free" >&2; exit 28
fi
cp -a "$home" "$former/home"
for v in $volumes; do [ ! -d "$data/$v" ] || cp -a --reflink=auto "$data/$v" "$former/data/$v"; done
touch "$former/whole"; sync
"""
# Made again after it was killed it ends the same: what was moved already is there.
_PUT = """
set -eu
test -e "$former/whole"
systemctl stop "$unit" || true
[ ! -d "$home" ] || docker compose --project-directory "$home" down --remove-orphans --timeout 30 || true
if [ -d "$former/home" ]; then rm -rf "$home"; mv "$former/home" "$home"; fi
for v in $volumes; do
  if [ -d "$former/data/$v" ]; then rm -rf "${data:?}/$v"; mv "$former/data/$v" "$data/$v"; fi
done
"""
_FORGET = """
rm -rf "$former"; rmdir "$(dirname "$former")" 2> /dev/null || true
"""


def keep(state: State, instance: Instance) -> None:
    """Stops an instance and sets its version aside. Raises PreconditionFailed where there is no room for that."""
    try:
        _run(state, instance, _KEEP)
    except TaskFailed as error:
        if f"exit code {_NO_ROOM}" in error.what:
            what = f"there is no room to set its data aside: {error.what.strip().splitlines()[-1]}"
            raise PreconditionFailed(
                what, where=instance.name, hint="give its guest a bigger disk in hub.yml"
            ) from error
        raise


def put_back(state: State, instance: Instance) -> None:
    """The former version stands there again, with its data, and is still to be started."""
    _run(state, instance, _PUT)


def forget(state: State, instance: Instance) -> None:
    """What was set aside goes."""
    _run(state, instance, _FORGET)


def _run(state: State, instance: Instance, script: str) -> None:
    stack = instance.stack.name
    words = {
        "former": f"{FOLDER}/{stack}",
        "home": names.home(stack),
        "data": names.data(stack),
        "unit": names.unit(stack),
        "volumes": " ".join(one.volume for one in copied(instance)),
        "spare": str(_SPARE),
    }
    lines = "".join(f"{name}={shlex.quote(text)}\n" for name, text in words.items())
    ssh.run(state, instance.guest.name, ["sh", "-s"], stdin=(lines + script).encode(), timeout=_SECONDS)
