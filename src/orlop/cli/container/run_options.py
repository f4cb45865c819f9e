"""The options of `orlop run`, and what they make: a pod of one container."""

from __future__ import annotations

import argparse
import os

from orlop.cli.container import values
from orlop.cli.parser import Parser
from orlop.kit.errors import InvalidInput
from orlop.pod.model import DNS, ContainerConfig, SandboxConfig
from orlop.runtime.model import Resources, Security

NETWORKS = ("pod", "bridge", "none", "host")


def add_arguments(parser: Parser) -> None:
    add = parser.add_argument
    add("-d", "--detach", action="store_true", help="print the container's ID and leave it running")
    add("--rm", action="store_true", help="remove the container when it has ended")
    add("-i", "--interactive", action="store_true", help="pass standard input on")
    add("-t", "--tty", action="store_true", help="give it a terminal (left with ctrl-p ctrl-q)")
    add("--name", metavar="NAME", help="what it is called (made up where not given)")
    add("--pull", choices=("missing", "always", "newer", "never"), default="missing", help="when to fetch")
    add("--platform", metavar="OS/ARCH", help="of the image, where another than this machine's")
    add(
        "-e", "--env", metavar="NAME[=VALUE]", action="append", default=[], help="a variable, or this shell's"
    )
    add("--env-file", metavar="FILE", action="append", default=[], help="lines NAME=VALUE")
    add(
        "-v", "--volume", metavar="SRC:DST[:ro]", action="append", default=[], help="a folder or file of here"
    )
    add("--tmpfs", metavar="DST[:size=64m]", action="append", default=[], help="a folder in memory")
    add("--device", metavar="HOST[:PATH][:rwm]", action="append", default=[], help="a device of here")
    add("-w", "--workdir", metavar="DIR", default="", help="where it starts (as the image says)")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="name or number (as the image says)")
    add("--entrypoint", metavar="PROGRAM", help="instead of the image's; '' for none")
    add("-l", "--label", metavar="NAME=VALUE", action="append", default=[], help="a label of the container")
    add("--stop-signal", metavar="SIGNAL", default="", help="what `orlop stop` sends (as the image says)")
    _add_network(parser)
    _add_limits(parser)
    add("image", metavar="IMAGE", help="a name, a digest or (the start of) an ID")
    add("command", metavar="COMMAND", nargs=argparse.REMAINDER, help="instead of the image's command")


def _add_network(parser: Parser) -> None:
    add = parser.add_argument
    add(
        "--network",
        "--net",
        choices=NETWORKS,
        default="pod",
        help="own addresses (pod), none, or this machine's",
    )
    add("-p", "--publish", metavar="[IP:]HOST:CTR[/udp]", action="append", default=[], help="a port of here")
    add("--hostname", metavar="NAME", default="", help="its own name (the container's)")
    add(
        "--dns",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="a name server instead of this machine's",
    )
    add("--add-host", metavar="NAME:ADDRESS", action="append", default=[], help="a line of /etc/hosts")
    add("--ipc", choices=("private", "host"), default="private", help="host: shares this machine's IPC")
    add("--pid", choices=("private", "host"), default="private", help="host: sees this machine's processes")
    add("--sysctl", metavar="NAME=VALUE", action="append", default=[], help="a kernel parameter of the pod")


def _add_limits(parser: Parser) -> None:
    add = parser.add_argument
    add("-m", "--memory", metavar="SIZE", help="at most so much, such as 512m or 2g")
    add("--memory-swap", metavar="SIZE", help="memory and swap together (as --memory)")
    add("--cpus", metavar="NUMBER", help="at most so many cores, such as 0.5")
    add("--cpuset-cpus", metavar="LIST", default="", help="only on these cores, such as 0-1")
    add("--pids-limit", metavar="NUMBER", help="at most so many processes")
    add("--cap-add", metavar="NAME", action="append", default=[], help="a capability more (NET_ADMIN, ALL)")
    add("--cap-drop", metavar="NAME", action="append", default=[], help="a capability less")
    add("--privileged", action="store_true", help="all capabilities and devices, no seccomp")
    add("--read-only", action="store_true", help="its root file system cannot be written")
    add("--security-opt", metavar="OPTION", action="append", default=[], help=values.SECURITY_OPTIONS)


def sandbox(arguments: argparse.Namespace, name: str) -> SandboxConfig:
    """The pod. Raises InvalidInput."""
    aliases = [values.host_alias(text) for text in arguments.add_host]
    network = "pod" if arguments.network == "bridge" else arguments.network
    return SandboxConfig(
        name=name,
        uid=os.urandom(16).hex(),
        hostname=arguments.hostname,
        network=network,
        host_ipc=arguments.ipc == "host",
        host_pid=arguments.pid == "host",
        ports=tuple(port for text in arguments.publish for port in values.ports(text)),
        dns=DNS(servers=tuple(arguments.dns)),
        host_aliases=tuple((address, (alias,)) for address, alias in aliases),
        sysctls=dict(values.pair("--sysctl", text) for text in arguments.sysctl),
    )


def container(arguments: argparse.Namespace, name: str, image: str) -> ContainerConfig:
    """Its container. Raises InvalidInput."""
    no_new_privileges, seccomp = values.security_options(arguments.security_opt)
    entrypoint = None if arguments.entrypoint is None else values.program(arguments.entrypoint)
    return ContainerConfig(
        name=name,
        image=image,
        command=entrypoint,
        args=tuple(arguments.command) or (None if entrypoint is None else ()),
        env=tuple(values.environment(arguments.env_file, arguments.env)),
        working_dir=arguments.workdir,
        mounts=(*map(values.volume, arguments.volume), *map(values.tmpfs, arguments.tmpfs)),
        devices=tuple(map(values.device, arguments.device)),
        resources=_resources(arguments),
        security=Security(
            privileged=arguments.privileged,
            user=arguments.user,
            add_capabilities=tuple(arguments.cap_add),
            drop_capabilities=tuple(arguments.cap_drop),
            read_only_root=arguments.read_only,
            no_new_privileges=no_new_privileges,
            seccomp=seccomp,
        ),
        terminal=arguments.tty,
        stdin=arguments.interactive,
        stdin_once=arguments.interactive and not arguments.tty,  # a terminal is left and come back to
        stop_signal=arguments.stop_signal,
        remove=arguments.rm,
        labels=dict(map(values.label, arguments.label)),
    )


def _resources(arguments: argparse.Namespace) -> Resources:
    def optional_size(option: str, text: str | None) -> int:
        return 0 if text is None else values.size(option, text)

    memory = optional_size("--memory", arguments.memory)
    swap = optional_size("--memory-swap", arguments.memory_swap)
    if swap and swap < memory:
        raise InvalidInput(
            "--memory-swap", "is less than --memory", hint="it counts memory and swap together"
        )
    pids = values.count("--pids-limit", arguments.pids_limit) if arguments.pids_limit else 0
    return Resources(
        cpu_limit=values.cpus(arguments.cpus) if arguments.cpus else 0,
        memory_limit=memory,
        memory_swap=swap,
        pids=max(0, pids),
        cpuset_cpus=arguments.cpuset_cpus,
    )
