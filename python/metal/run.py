"""An order carried out: the node is read once, compared, and brought step by step to what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from . import cards, network
from .actual import parse, script
from .compare import notes, steps
from .exchange import Allowed, Answer, Cause, Failure, Order, Outcome, Refusal, Taken, subject
from .refusal import RefusedByNode
from .steps import Step

LINES = 12  # of a failed command's output


class Failed(Exception):
    """A connection or a command failed."""

    def __init__(self, cause: Cause, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.cause: Cause = cause
        self.lines = tuple(lines)[-LINES:]


class Node(Protocol):
    """The machine that steps are taken on."""

    def read(self, script: str) -> list[str]:
        """The lines that a script prints there. Raises Failed."""

    def take(self, steps: Sequence[Step]) -> tuple[int, Failed | None]:
        """Takes steps until one fails: how many were taken whole, and what stopped it."""


def carry_out(order: Order, node: Node, *, dry: bool) -> Answer:
    """The answer to an order; with `dry` nothing is changed."""
    try:
        needed, answer = _needed(order, node)
    except RefusedByNode as refused:
        return Answer(refused=Refusal(refused.kind, refused.what, refused.hint))
    except Failed as failed:
        return Answer(failed=Failure(failed.cause, "", failed.lines))
    where = order.desired.node
    if dry:
        return replace(answer, steps=tuple(_taken(step, where, "planned") for step in needed))
    count, failed_with = node.take(needed)
    done = [_taken(step, where, "done") for step in needed[:count]]
    if failed_with is None:
        return replace(answer, steps=tuple(done))
    broken, *rest = needed[count:]
    return Answer(
        (*done, _taken(broken, where, "failed"), *(_taken(step, where, "not reached") for step in rest)),
        failed=Failure(failed_with.cause, subject(broken, where), failed_with.lines),
    )


def _needed(order: Order, node: Node) -> tuple[list[Step], Answer]:
    """The steps to take, and what there is to say beside them."""
    desired = order.desired
    lines = node.read(script(desired))
    try:
        actual = parse(lines)
        every = steps(desired, actual)
    except ValueError as error:  # no JSON from pvesh, no address of a resolver
        raise Failed("command", [f"what the node answers can't be read: {error}"]) from error
    needed = [step for step in every if step.commands and order.only in (None, step.kind)]
    refuse_more(order, needed)
    found = [] if desired.removed else cards.find(desired, actual)
    told = Answer(
        notes=notes(desired, actual),
        closed=network.closed(desired, actual),
        cards={one.card.name: one.path for one in found},
        reboot=cards.waits_for_boot(desired, actual, found, needed),
    )
    return needed, told


def refuse_more(order: Order, needed: Sequence[Step]) -> None:
    """Raises RefusedByNode when a step is needed that the order does not allow."""
    if order.allowed is None:
        return
    found = [Allowed(subject(step, order.desired.node), step.action, step.restart) for step in needed]
    if more := [f"{one.subject}: {one.action}" for one in found if one not in order.allowed]:
        text = "more is to be done than was agreed: somebody changed the node since the plan was made"
        raise RefusedByNode("conflict", "\n".join([text, *more]), "aihub plan")


def _taken(step: Step, node: str, outcome: Outcome) -> Taken:
    return Taken(step.kind, subject(step, node), step.action, step.differences, step.restart, outcome)
