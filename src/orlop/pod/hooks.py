"""The port through which somebody sees, and adjusts, pods and containers on their way (NRI does, in `cri`).

Called from the verbs of this package, in whatever thread they run in, with the object's claim held. Whatever
`run_sandbox`, `update_sandbox`, `create_container`, `start_container` or `update_container` raises ends the
request, which is then undone; failures of the others are logged by whoever implements them and change
nothing. The default does nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.pod.model import Container, Sandbox
    from orlop.runtime.model import ContainerSpec, Resources


class Hooks:
    """Contract: thread-safe; every method returns soon (its implementation has a time limit)."""

    def wants(self, event: str, identifier: str) -> bool:
        """Whether to call the method `event` about this container, else this pod. Asked before it is read
        from the records, which costs more than anything else here where nobody hears."""
        return True

    def run_sandbox(self, sandbox: Sandbox) -> None:
        """The pod has its namespaces and addresses, and is about to become ready."""

    def update_sandbox(self, sandbox: Sandbox, overhead: Resources, resources: Resources) -> None:
        """The limits of the pod as a whole are about to become these."""

    def updated_sandbox(self, sandbox: Sandbox) -> None:
        """Its limits have changed."""

    def stop_sandbox(self, sandbox: Sandbox) -> None:
        """Its containers have ended; its network is about to go."""

    def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Nothing but its record is left."""

    def create_container(self, sandbox: Sandbox, container: Container, spec: ContainerSpec) -> ContainerSpec:
        """What the runtime is asked for, as it is to be."""
        return spec

    def created_container(self, sandbox: Sandbox, container: Container) -> None:
        """The runtime has created it."""

    def start_container(self, sandbox: Sandbox, container: Container) -> None:
        """It is about to start."""

    def started_container(self, sandbox: Sandbox, container: Container) -> None:
        """It runs."""

    def update_container(self, sandbox: Sandbox, container: Container, resources: Resources) -> Resources:
        """Its limits are about to become these."""
        return resources

    def updated_container(self, sandbox: Sandbox, container: Container) -> None:
        """Its limits have changed."""

    def stopped_container(self, sandbox: Sandbox, container: Container) -> None:
        """It has ended, because somebody stopped it."""

    def ended_container(self, sandbox: Sandbox, container: Container) -> None:
        """It has ended, whoever ended it; told by whoever watches, perhaps after `stopped_container`."""

    def remove_container(self, sandbox: Sandbox, container: Container) -> None:
        """It is about to be taken away."""
