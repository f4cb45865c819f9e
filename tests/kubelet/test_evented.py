"""The kubelet hears of containers by the runtime's events (EventedPLEG) instead of by lists (issue 4).

A kubelet of its own: with this gate each step of a pod waits for a clock of the kubelet's ticking every 5 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubelet.cluster import NODE_NAME
from tests.kubelet.conftest import Bench, bench
from tests.kubelet.manifests import container, pod
from tests.kubelet.test_node import phase

pytestmark = [pytest.mark.host, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def here(plane: Any, prepared: Any) -> Iterator[Bench]:
    with bench(plane, prepared, "1.36", featureGates={"EventedPLEG": True}) as made:
        yield made


def test_the_end_of_a_pod_is_seen_by_its_event(here: Bench) -> None:
    """Lists come every five minutes: what is seen before was an event."""
    last = container(here.image, "sh", "-c", "echo done; exit 3")
    here.plane.apply(pod("eventful", last, restartPolicy="Never"))
    here.plane.wait("its end", lambda: phase(here, "eventful") == "Failed")
    ended = here.plane.get("pod", "eventful")["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (3, "Error")
    metrics = here.plane.kubectl("get", "--raw", f"/api/v1/nodes/{NODE_NAME}/proxy/metrics").stdout
    lines = dict(
        line.rsplit(" ", 1) for line in metrics.splitlines() if line.startswith("kubelet_evented_pleg")
    )
    assert float(lines["kubelet_evented_pleg_connection_success_count"]) >= 1
    assert float(lines["kubelet_evented_pleg_connection_latency_seconds_count"]) >= 4
