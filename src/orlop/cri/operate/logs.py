"""The daemon's logs, as section [serve] has them."""

from __future__ import annotations

from orlop.cri.operate.settings import ServeSettings
from orlop.kit import log, systemd


def set_up(settings: ServeSettings, *, verbose: bool = False) -> None:
    """To standard error, with severities where that is the journal. `verbose` outranks the level."""
    log.to_stderr(
        level=log.level_of("debug" if verbose else settings.log_level, "[serve] log_level"),
        form=log.form_of(settings.log_format, "[serve] log_format"),
        journal=systemd.under_journal(),
        others=True,
    )
