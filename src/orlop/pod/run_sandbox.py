"""Make a pod without containers."""

from __future__ import annotations

from orlop.pod import init, remove_sandbox, sandbox
from orlop.pod.codec import dumps
from orlop.pod.context import Pods, as_sandbox, new_id
from orlop.pod.model import Sandbox, SandboxConfig
from orlop.pod.records import CREATING, READY, REMOVING
from orlop.runtime.cgroups.prompt import PromptMoves


def run_sandbox(pods: Pods, config: SandboxConfig) -> Sandbox:
    """A pod of this (namespace, name, uid, attempt): a new one, or the one that is there, as it is.

    Requests for the same pod at the same time join. Raises InvalidInput, and what `network` and `runtime`
    raise; after an error nothing is left.
    """
    sandbox.validate(config)
    pods.admit(config)
    while True:
        row = pods.records.identified(config.namespace, config.name, config.uid, config.attempt)
        if row is None:
            made = _make(pods, config)
            if made is not None:
                return made
            continue  # somebody else was first: join
        with pods.claim(row["id"]):  # waits for whoever makes it
            row = pods.records.row("sandboxes", row["id"])
            if row is not None and row["state"] in (CREATING, REMOVING):  # of a process that died
                remove_sandbox.finish(pods, row)
            elif row is not None:
                return as_sandbox(row)


def _make(pods: Pods, config: SandboxConfig) -> Sandbox | None:
    """A new sandbox; None where one of that identity came into being meanwhile."""
    identifier = new_id()
    PromptMoves.expect()  # its first container follows
    with pods.claim(identifier):
        try:
            with pods.gate():
                if not pods.records.insert("sandboxes", sandbox.row(pods, identifier, config)):
                    pods.release_claim(identifier)
                    return None
                sandbox.prepare(pods, identifier, config)
            addresses = sandbox.attach(pods, identifier, config)
            pid = init.start(pods, identifier, config) if init.wanted(config) else 0
            if pods.heard("run_sandbox", identifier) is not None:
                pods.records.update("sandboxes", identifier, addresses=dumps(addresses))
                pods.tell("run_sandbox", identifier)
            pods.records.update(
                "sandboxes", identifier, state=READY, addresses=dumps(addresses), init_pid=pid
            )
        except BaseException:
            remove_sandbox.undo(pods, identifier)
            raise
        return as_sandbox(pods.sandbox_row(identifier))
