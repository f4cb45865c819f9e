"""The parts of a sandbox, made and taken away: what run_sandbox, remove_sandbox, run and recover share.

Everything here is called by whoever holds the sandbox's claim. Taking away is idempotent and goes on past
failures, so that one stuck part does not keep the others.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from orlop.kit import files, limits
from orlop.kit.errors import InvalidInput, OrlopError
from orlop.network.model import Addresses, Attachment
from orlop.pod import etc, namespaces, records
from orlop.pod.context import Pods
from orlop.pod.model import SandboxConfig

_NETWORKS = ("pod", "none", "host")


def validate(config: SandboxConfig) -> None:
    """Raises InvalidInput where the configuration contradicts itself or could not be carried out."""
    subject = f"pod {config.name}"
    for what, value in (("name", config.name), ("namespace", config.namespace)):
        if not value or "/" in value or len(value) > 253 or not value.isprintable():
            raise InvalidInput(
                f"pod {value[:60]!r}",
                f"is not a {what}",
                hint="use up to 253 letters, digits, dots and dashes",
            )
    if config.network not in _NETWORKS:
        raise InvalidInput(subject, f"network {config.network!r}", hint=f"one of {', '.join(_NETWORKS)}")
    if config.ports and config.network != "pod":
        raise InvalidInput(
            subject, f"host ports with network {config.network!r}", hint='use network "pod", or no ports'
        )
    etc.validate(config)
    if config.uid_mappings or config.gid_mappings:
        from orlop.pod import user_namespace

        user_namespace.validate(config)
    if config.sysctls:
        from orlop.runtime import sysctls

        sysctls.validate(config.sysctls, host_network=config.network == "host", host_ipc=config.host_ipc)


def owner(config: SandboxConfig) -> tuple[int, int]:
    """The machine's IDs of the pod's root, whom its files belong to."""
    if not config.uid_mappings:
        return 0, 0
    from orlop.pod import user_namespace

    return user_namespace.root_of(config.uid_mappings), user_namespace.root_of(config.gid_mappings)


def row(pods: Pods, identifier: str, config: SandboxConfig) -> dict[str, object]:
    """The record of a sandbox that is about to be made."""
    from orlop.pod import codec

    return {
        "id": identifier,
        "namespace": config.namespace,
        "name": config.name,
        "uid": config.uid,
        "attempt": config.attempt,
        "state": records.CREATING,
        "boot": pods.boot,
        "created": pods.now(),
        "config": codec.dumps(config),
        "attached": int(config.network == "pod"),
    }


def prepare(pods: Pods, identifier: str, config: SandboxConfig) -> None:
    """The sandbox's namespaces, shared memory and files: all but its network's addresses."""
    kinds: tuple[str, ...] = () if config.network == "host" else ("net", "uts")
    if not config.host_ipc:
        kinds += ("ipc",)
    namespaces.pin(
        pods.node,
        identifier,
        kinds,
        hostname=etc.hostname(config),
        sysctls=config.sysctls,
        mapped=config if config.uid_mappings else None,
    )
    if not config.host_ipc:
        namespaces.mount_shm(pods.node, identifier, owner(config))
    namespaces.mount_files(pods.node, identifier)
    etc.write(pods.node, identifier, config, Addresses())
    if has_limits(config):
        pods.engine.make_group(pods.cgroup(identifier), config.resources)


def has_limits(config: SandboxConfig) -> bool:
    """Whether the pod's own cgroup has limits as a whole; else the runtime makes it with the first container.

    Below a parent of somebody else's there is none of our own: whoever made the parent has limited it.
    """
    return config.resources != type(config.resources)() and not config.cgroup_parent


def attach(pods: Pods, identifier: str, config: SandboxConfig) -> Addresses:
    """Ask the network for addresses, and write them into the pod's files."""
    if config.network != "pod":
        return Addresses()
    addresses = pods.network.add(attachment(pods, identifier, config))
    etc.write(pods.node, identifier, config, addresses)
    return addresses


def attachment(pods: Pods, identifier: str, config: SandboxConfig) -> Attachment:
    """The pod as the network knows it."""
    return Attachment(
        id=identifier,
        netns=os.path.join(namespaces.folder(pods.node, identifier), "net"),
        name=config.name,
        namespace=config.namespace,
        uid=config.uid,
        ports=config.ports,
    )


def detach(pods: Pods, identifier: str) -> None:
    """Leave the network; the namespace must go next. It must not keep the pod for ever: where it fails, that
    is logged, the network's own record stays, and a later command repeats it."""
    try:
        pods.network.delete(identifier, going=True)
    except OrlopError as error:
        import logging  # only failures pay for it

        logging.getLogger(__name__).warning("pod %s leaves the network later: %s", identifier[:12], error)
        pods.records.ask_network_at(pods.now() + limits.CNI_RETRY)


def dismantle(pods: Pods, identifier: str, *, attached: bool, has_init: bool) -> None:
    """Take away everything that a sandbox has, its containers excepted."""
    steps: list[Callable[[], object]] = []
    if has_init:
        steps.append(lambda: pods.engine.delete(identifier, force=True))
        steps.append(lambda: files.remove_tree(pods.bundle(identifier)))
        steps.append(lambda: files.remove_tree(pods.node.in_state("mapped", identifier)))
    # An executed plugin waits 10 ms (RCU) before a link is gone, and so does who removes a cgroup.
    network: list[Callable[[], object]] = [lambda: namespaces.unpin(pods.node, identifier)]
    if attached:
        network.insert(0, lambda: detach(pods, identifier))
    leaving = network
    if not pods.cgroup_parent(identifier):  # a group of its own
        network = [lambda: at_once([lambda: pods.remove_group(identifier), lambda: all_of(leaving)])]
    all_of([*steps, *network])


def all_of(steps: list[Callable[[], object]]) -> None:
    """Take each step, whatever happens to the others; then raise the first failure."""
    failures: list[Exception] = []
    for step in steps:
        try:
            step()
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


def at_once(steps: list[Callable[[], object]]) -> None:
    """Take all steps at the same time, a thread each (the last one here); then raise the first failure."""
    failures: list[Exception] = []

    def taken(step: Callable[[], object]) -> None:
        try:
            step()
        except Exception as error:
            failures.append(error)

    import contextvars  # what is logged there is of the same request

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(taken, step)) for step in steps[:-1]
    ]
    for thread in threads:
        thread.start()
    for step in steps[-1:]:
        taken(step)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
