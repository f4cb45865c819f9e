"""The kernel's door `orlop.kit.netlink`, held against what iproute2 and the kernel say of the same."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from orlop.kit import netlink
from orlop.network import loopback
from tests.network.test_conformance import in_new_namespace, run

pytestmark = pytest.mark.host

_UDP = 17


def test_flows_to_a_port_are_forgotten_and_others_kept() -> None:
    def story() -> list[int]:
        loopback.up_here()
        tracking = ("-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT")  # the kernel tracks from here on
        run("iptables", "-A", "OUTPUT", *tracking)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for port in (9991, 9992):
                sender.sendto(b"x", ("127.0.0.1", port))
        ports = (9991, 9991, 9992, 9993)
        return [netlink.forget_connections(_UDP, port, six=False) for port in ports]

    assert in_new_namespace(story) == [1, 0, 1, 0]


def test_a_refusal_carries_the_kernels_number() -> None:
    def story() -> tuple[int | None, int | None, object]:
        with netlink.Netlink() as here:
            here.add_bridge("one")
            with pytest.raises(OSError) as taken:
                here.add_bridge("one")
            with pytest.raises(OSError) as absent:
                here.delete_link(4711)
            return taken.value.errno, absent.value.errno, here.link("two")

    assert in_new_namespace(story) == (errno.EEXIST, errno.ENODEV, None)


def test_many_answers_are_read_to_their_end() -> None:
    """More addresses than one answer of the kernel holds."""

    def story() -> int:
        with netlink.Netlink() as here:
            here.add_bridge("one", 1400)
            link = here.link("one")
            assert link is not None and (link.kind, link.name) == ("bridge", "one")
            assert Path("/proc/sys/net/ipv4/conf/one").exists()
            for number in range(800):
                here.add_address(link.index, bytes([10, 9, number >> 8, number & 255]), 32)
            return len(here.addresses(link.index))

    assert in_new_namespace(story) == 800
