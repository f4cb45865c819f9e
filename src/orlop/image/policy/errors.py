"""What a policy says when it says no."""

from __future__ import annotations

from orlop.kit.errors import Denied


class PolicyRefused(Denied):
    """The policy does not allow the image: a scope that is rejected, or no signature that it demands."""
