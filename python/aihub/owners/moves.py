"""A consumer that is to use another provider than before: it begins with nothing there, so somebody has to say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aihub.errors import PreconditionFailed
from aihub.model.resolved import VERIFY, Hub, Instance
from aihub.plan import Change
from aihub.secrets.kept import Left

from .run import Run

MOVES = "moves"
_PAIRS = "operator/pair/"


def look(hub: Hub, store: Instance, left: Iterable[Left]) -> Iterator[Change]:
    """Consumers whose login, of the entries that nobody declares, lies at a provider that serves them no more."""
    # The checks log in everywhere and keep nothing: where one provider goes, they are no consumer of another.
    users = {(hub.instance(one.provider).id, one.role): one for one in hub.consumers if one.consumer != VERIFY}
    for one in left:
        if not one.path.startswith(_PAIRS):
            continue
        provider, _, role = one.path.removeprefix(_PAIRS).partition("/")
        for (now, name), user in users.items():
            if name == role and now != provider and user.kind in _kinds(hub, provider, user.kind):
                yield Change(
                    f"{store.name}: provider of {user.consumer} for {user.kind}",
                    "update",
                    "vault",
                    "vault",
                    f"{user.provider} in place of {provider}: it begins empty, and what it has at {provider} stays",
                    details={MOVES: user.consumer},
                )


def _kinds(hub: Hub, provider: str, kind: str) -> frozenset[str]:
    """What a provider gives, by its id; one whose stack nobody uses any more may have given anything."""
    stack = hub.stacks.get(provider.partition("@")[0])
    return frozenset(stack.gives) if stack else frozenset({kind})


def refuse(run: Run) -> None:
    """Raises PreconditionFailed when a consumer would leave its data at another provider, and nobody said so."""
    moved = [change for change in run.plan.changes if change.details.get(MOVES, "")]
    if left := [one for one in moved if one.details[MOVES] not in run.options.allow_move]:
        text = "\n".join(f"{one.details[MOVES]}: {one.summary}" for one in left)
        names = " ".join(dict.fromkeys(f"--allow-move {one.details[MOVES]}" for one in left))
        raise PreconditionFailed(
            f"a consumer would leave its data behind\n{text}", hint=f"if that is meant: aihub up {names}"
        )
