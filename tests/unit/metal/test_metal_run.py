"""What an order comes to on a node: which steps, what stops them, and what is refused first."""

from __future__ import annotations

from dataclasses import replace

import pytest
from metal.exchange import Allowed, Order
from metal.run import Failed, carry_out

from tests.unit.metal.metal_nodes import REMOVED, WANTED, converged, fresh, printed

RIGHTS = "node pve: rights of hub-my-hub@pve"


class Node:
    """Answers a reading and remembers the steps it was given; the step of `breaks_at` fails."""

    def __init__(self, text: str, breaks_at: str = "") -> None:
        self.text = text
        self.breaks_at = breaks_at
        self.taken: list[str] = []

    def read(self, script):
        return self.text.splitlines()

    def take(self, steps):
        for count, step in enumerate(steps):
            if step.kind == self.breaks_at:
                return count, Failed("command", [f"line {n}" for n in range(30)])
            self.taken.append(step.kind)
        return len(steps), None


def allowed(order: Order, node: Node) -> tuple[Allowed, ...]:
    return tuple(Allowed(s.subject, s.action, s.restart) for s in carry_out(order, node, dry=True).steps)


def test_a_dry_run_takes_no_step():
    node = Node(printed(fresh()))
    found = carry_out(Order(WANTED), node, dry=True)
    assert {step.outcome for step in found.steps} == {"planned"}
    assert node.taken == []


def test_what_is_allowed_is_done():
    node = Node(printed(fresh()))
    found = carry_out(Order(WANTED, allowed(Order(WANTED), node)), node, dry=False)
    assert [step.kind for step in found.steps] == node.taken
    assert {step.outcome for step in found.steps} == {"done"}


@pytest.mark.parametrize("left_out", ["node pve: bridge hubinfra", RIGHTS, "node pve: DNS"])
def test_more_than_is_allowed_is_refused_before_the_first_change(left_out):
    node = Node(printed(fresh()))
    said = tuple(one for one in allowed(Order(WANTED), node) if one.subject != left_out)
    found = carry_out(Order(WANTED, said), node, dry=False)
    assert (found.refused.kind, found.steps, node.taken) == ("conflict", (), [])
    assert left_out in found.refused.what


def test_another_action_and_a_restart_are_more_than_is_allowed():
    node = Node(printed(fresh()))
    said = allowed(Order(WANTED), node)
    pool = "node pve: pool hub-my-hub"
    other = tuple(replace(one, action="delete") if one.subject == pool else one for one in said)
    assert pool in carry_out(Order(WANTED, other), node, dry=False).refused.what
    running = fresh()
    running.units["chrony.service"] = replace(running.units["chrony.service"], active="active")
    found = carry_out(Order(WANTED, said), Node(printed(running)), dry=False)
    assert "node pve: time" in found.refused.what
    assert "DNS" not in found.refused.what


def test_less_than_is_allowed_is_fine():
    said = allowed(Order(WANTED), Node(printed(fresh())))
    found = carry_out(Order(replace(WANTED, vault=None), said), Node(printed(fresh())), dry=False)
    assert found.refused is None
    assert "unsealing" not in {step.kind for step in found.steps}


def test_one_kind_alone_leaves_everything_else_for_another_time():
    node = Node(printed(fresh()))
    found = carry_out(Order(WANTED, only="rights"), node, dry=False)
    assert ([step.subject for step in found.steps], node.taken) == ([RIGHTS], ["rights"])


def test_an_answer_names_the_bridges_that_are_left_to_somebody():
    node = converged()
    node.ports["hubprivate"] = ["tap201i0"]
    text = printed(node) + "ports\thubprivate\ttap201i0\n"
    one = replace(WANTED, zones=WANTED.zones[:1], ports=WANTED.ports[:1], flows=())
    assert carry_out(Order(one), Node(text), dry=True).closed == ("hubprivate",)
    assert carry_out(Order(WANTED), Node(text), dry=True).closed == ()


def test_a_step_that_fails_stops_the_rest_and_is_named():
    found = carry_out(Order(WANTED), Node(printed(fresh()), breaks_at="dns"), dry=False)
    outcomes = [step.outcome for step in found.steps]
    assert outcomes == sorted(outcomes, key=["done", "failed", "not reached"].index)
    assert outcomes.count("failed") == 1
    assert (found.failed.cause, found.failed.step) == ("command", "node pve: DNS")
    assert found.failed.lines == tuple(f"line {n}" for n in range(18, 30))


def test_a_node_that_answers_nonsense_is_a_failure_in_words():
    found = carry_out(Order(WANTED), Node("api\tpools\t<html>"), dry=True)
    assert found.failed.cause == "command"
    assert "can't be read" in found.failed.lines[0]


def test_a_refusal_holds_no_step():
    node = converged()
    node.ports["hubinfra"] = ["tap300i0"]
    text = printed(node) + "ports\thubinfra\ttap300i0\n"
    found = carry_out(Order(REMOVED), Node(text), dry=False)
    assert (found.refused.kind, found.steps, found.failed) == ("conflict", (), None)
