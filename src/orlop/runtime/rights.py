"""What this process may do, and clamping to it: said once a boot in the log, never a container's failure."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from orlop.kit.value import dataclass

#: capabilities(7), in the order of their numbers.
_NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO "
    "SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG "
    "MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM "
    "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE "
)
CAPABILITIES = _NAMES.split()


@dataclass(frozen=True)
class Rights:
    """`capabilities` without CAP_; `oom_score_adj` is our own; `notes` is the folder of what was said."""

    capabilities: frozenset[str]
    oom_score_adj: int
    notes: str = ""

    @classmethod
    def own(cls, notes: str = "") -> Rights:
        """Those of this process."""
        permitted = bounding = 0
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("CapPrm:"):
                    permitted = int(line.split()[1], 16)
                elif line.startswith("CapBnd:"):
                    bounding = int(line.split()[1], 16)
        both = permitted & bounding
        with open("/proc/self/oom_score_adj", encoding="ascii") as stream:
            score = int(stream.read())
        held = frozenset(name for number, name in enumerate(CAPABILITIES) if both >> number & 1)
        return cls(held, score, notes)

    @property
    def may_raise_limits(self) -> bool:
        return "SYS_RESOURCE" in self.capabilities

    def held(self, wanted: Iterable[str], *, quiet: bool = False) -> list[str]:
        """Those of `wanted` that we have, in the order of their numbers."""
        asked = set(wanted)
        lacking = sorted(asked - self.capabilities)
        if lacking and not quiet:
            self.say("capabilities " + ", ".join(lacking) + " are left out: this process does not have them")
        return [name for name in CAPABILITIES if name in asked and name in self.capabilities]

    def oom_score(self, wanted: int) -> int:
        if wanted >= self.oom_score_adj or self.may_raise_limits:
            return wanted
        self.say(f"oom_score_adj {wanted} is raised to {self.oom_score_adj}: no CAP_SYS_RESOURCE")
        return self.oom_score_adj

    def rlimit(self, name: str, soft: int, hard: int) -> tuple[int, int]:
        """The limit, or the highest that may be set. `name` as in RLIMIT_NOFILE; -1 is unlimited."""
        import resource

        own = resource.getrlimit(getattr(resource, name))[1]
        if self.may_raise_limits or own == resource.RLIM_INFINITY:
            return soft, hard
        if 0 <= hard <= own and 0 <= soft <= own:
            return soft, hard
        self.say(f"{name} is lowered to {own}: no CAP_SYS_RESOURCE")
        return (own if not 0 <= soft <= own else soft), (own if not 0 <= hard <= own else hard)

    def say(self, text: str) -> None:
        """Log `text` if nobody has since the machine started (a file in the notes folder remembers)."""
        if self.notes:
            import zlib

            note = os.path.join(self.notes, f"said-{zlib.crc32(text.encode()):08x}")
            with contextlib.suppress(OSError):
                os.makedirs(self.notes, mode=0o700, exist_ok=True)
                try:
                    os.close(os.open(note, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                except FileExistsError:
                    return
        import logging  # heavy; only where something is said

        logging.getLogger(__name__).warning("%s", text)
