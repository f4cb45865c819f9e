"""What every request about one object has."""

from __future__ import annotations

from typing import Any

from orlop.kit.errors import InvalidInput


def required(request: Any, field: str = "") -> str:
    """The ID that the request is about: `container_id`, else `pod_sandbox_id`. Raises InvalidInput."""
    names = request.DESCRIPTOR.fields_by_name
    field = field or ("container_id" if "container_id" in names else "pod_sandbox_id")
    identifier: str = getattr(request, field)
    if not identifier:
        raise InvalidInput(f"{request.DESCRIPTOR.name}: {field}", "is empty", hint="send an ID")
    return identifier
