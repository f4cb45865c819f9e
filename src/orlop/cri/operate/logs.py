"""The daemon's logs, as section [serve] has them."""

from __future__ import annotations

import logging

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
    grpc = logging.getLogger("grpc._cython.cygrpc")
    if not any(isinstance(each, ClientsThatLeft) for each in grpc.filters):
        grpc.addFilter(ClientsThatLeft())


class ClientsThatLeft(logging.Filter):
    """A client that gives up while its answer is written is no error; grpc has a traceback for each."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "ExecuteBatchError" not in record.getMessage()
