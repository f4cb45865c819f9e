"""Where the policy is, and a quick look: most machines have one that accepts everything."""

from __future__ import annotations

import os

from orlop.kit import limits
from orlop.kit.errors import InvalidInput
from orlop.kit.files import read_bounded

TYPE_CHECKING = False  # as typing's, without importing typing
if TYPE_CHECKING:
    from orlop.image.policy.model import Policy

SYSTEM_FILE = "/etc/containers/policy.json"
_USER_FILE = ".config/containers/policy.json"
_ACCEPT = b'"default":[{"type":"insecureAcceptAnything"}]'
#: What distributions install, without white space: nothing needs to be parsed.
_HARMLESS = (
    b"{%s}" % _ACCEPT,
    b'{%s,"transports":{"docker-daemon":{"":[{"type":"insecureAcceptAnything"}]}}}' % _ACCEPT,
)


def load(named: str = "") -> Policy | None:
    """The policy; None where everything is accepted, which costs next to nothing to find out.

    `named` is a file that somebody chose: it must be there. Otherwise ~/.config/containers/policy.json, then
    /etc/containers/policy.json; where neither is, everything is accepted. Raises InvalidInput for a file that
    cannot be read or is malformed: nothing is accepted by mistake.
    """
    path = named or _place()
    if not path:
        return None
    try:
        data = read_bounded(path, limits.CONFIG_FILE_SIZE)
    except OSError as error:
        raise InvalidInput(
            path, f"the policy cannot be read: {error.strerror or error}", hint="see that it is there"
        ) from error
    if b"".join(data.split()) in _HARMLESS:
        return None
    from orlop.image.policy.parse import parse

    policy = parse(data, path)
    return None if policy.accepts_everything else policy


def _place() -> str:
    """The file in the home, then the machine's, or "". Only what cannot be looked at is still a file."""
    home = os.environ.get("HOME") or os.path.expanduser("~")
    own = os.path.join(home, _USER_FILE)
    for path in (own, SYSTEM_FILE):
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                return path  # it leads nowhere: read, it is an error
            continue
        except OSError:
            return path
        # `sudo` may keep the HOME of a user, who must not loosen what root of the machine demands.
        if path == own and os.geteuid() == 0 and status.st_uid != 0:
            continue
        return path
    return ""
