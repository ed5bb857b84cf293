"""The deploy that pyinfra runs on the node: one fact, then every step as one operation."""

from collections.abc import Generator
from io import StringIO
from pathlib import Path

from pyinfra.api.command import FileUploadCommand
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host

from metal import refusal
from metal.actual import Actual, parse, script
from metal.compare import steps
from metal.desired import from_json
from metal.steps import Step, Upload


class NodeState(FactBase[Actual]):
    """Everything that metal looks at, in one round trip."""

    def command(self, reading: str) -> str:
        return reading

    def process(self, output: list[str]) -> Actual:
        return parse(output)


@operation()
def take(step: Step) -> Generator[str | FileUploadCommand, None, None]:
    """Brings one object of the node to what it should be."""
    for command in step.commands:
        if isinstance(command, Upload):
            yield f"mkdir -p {command.path.rpartition('/')[0]}"
            yield FileUploadCommand(StringIO(command.text), command.path)
            yield f"chown root:root {command.path} && chmod {command.mode} {command.path}"
        else:
            yield command


def main() -> None:
    """Compares the node with the desired state that `--data desired=PATH` names, and takes the steps."""
    desired = from_json(Path(host.data.desired).read_text())
    try:
        planned = steps(desired, host.get_fact(NodeState, reading=script(desired)))
    except refusal.Refused as refused:
        refusal.last.append(refused)
        raise PyinfraError(refused.what) from refused
    for step in [*planned, Step(f"node {desired.node}")]:  # the last proves that a node was looked at
        take(name=step.label, step=step)


main()
