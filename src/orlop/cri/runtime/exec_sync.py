"""Run a command in a container and return what it said."""

from __future__ import annotations

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.fields import command, required, seconds
from orlop.kit import limits
from orlop.kit.errors import TimedOut
from orlop.pod.exec_container import exec_sync as execute


def exec_sync(service: Service, request: pb.ExecSyncRequest) -> pb.ExecSyncResponse:
    """After `timeout` seconds (0: never) it is killed. Output beyond one message is dropped (CVE-2022-1708).

    Raises NotFound, Conflict (the container does not run), TimedOut, which the kubelet knows a probe by.
    """
    identifier = service.container_id(required(request))
    done = execute(
        service.pods,
        identifier,
        command(request),
        timeout=seconds(request.timeout) or None,
        output_limit=limits.CRI_EXEC_OUTPUT,
        cut=True,
    )
    if done.timed_out:
        raise TimedOut(
            f"container {identifier[:12]}",
            f"the command did not end within {request.timeout} s and was killed",
            hint="give it more time",
        )
    return pb.ExecSyncResponse(stdout=done.stdout, stderr=done.stderr, exit_code=done.exit_code)
