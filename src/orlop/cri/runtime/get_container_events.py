"""GetContainerEvents: what happens to containers and pods, from now on."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service


async def get_container_events(
    service: Service, request: pb.GetEventsRequest
) -> AsyncIterator[pb.ContainerEventResponse]:
    """Raises LimitExceeded for a subscriber that reads too slowly: it has to list what is, and come again."""
    async for event in service.events.subscribe():
        yield event
