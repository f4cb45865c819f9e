"""PullImage: by the same pull as the command line's, into the same store."""

from __future__ import annotations

from orlop.cri.image import lookup
from orlop.cri.proto import cri_pb2 as pb
from orlop.cri.service import Service
from orlop.cri.translate.image import credentials
from orlop.image.policy.errors import PolicyRefused
from orlop.kit.errors import InvalidInput, OrlopError, Unavailable
from orlop.kit.tasks import in_thread


class RegistryUnavailable(OrlopError):
    """The kubelet knows it by the beginning of the message, and only with the status UNKNOWN."""


class SignatureValidationFailed(OrlopError):
    """Likewise: the policy refuses the image."""


async def pull_image(service: Service, request: pb.PullImageRequest) -> pb.PullImageResponse:
    """The answer is the image's ID, as every other RPC has it.

    Raises InvalidInput (no name, no such runtime handler), RegistryUnavailable,
    SignatureValidationFailed, and what a pull raises.
    """
    name = request.image.image
    if not name:
        raise InvalidInput("image", "no name was given", hint="name the image to pull")
    service.pods.engine.handler(request.image.runtime_handler)  # unknown: refused, as the CRI wants it
    whole = await in_thread(lookup.whole_name, name)
    try:
        pulled = await service.pulls.pull(name, whole, credentials(request.auth, whole))
    except Unavailable as error:
        raise RegistryUnavailable("RegistryUnavailable", str(error), hint=error.hint) from error
    except PolicyRefused as error:
        raise refused(error) from error
    return pb.PullImageResponse(image_ref=str(pulled.id))


def refused(error: PolicyRefused) -> SignatureValidationFailed:
    """As the kubelet knows it."""
    return SignatureValidationFailed("SignatureValidationFailed", str(error), hint=error.hint)
