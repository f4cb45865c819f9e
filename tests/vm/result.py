"""The last result of a run in the guest, for docs/conformance.md (`pytest tests/vm --write-result`)."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from tests.conformance.critest import Spec
from tests.conformance.page import PAGE
from tests.vm.guest import Guest

_BEGIN, _END = "<!-- written by `pytest tests/vm --write-result` -->\n", "<!-- as far as here -->\n"
_QUESTIONS = {
    "Kernel": "uname -r",
    "systemd": "systemctl --version | sed -n '1s/systemd \\([0-9]*\\).*/\\1/p'",
    "Python": "/opt/orlop/bin/python -c 'import platform; print(platform.python_version())'",
    "crun": "crun --version | sed -n '1s/.* //p'",
    "conmon": "conmon --version | sed -n '1s/.* //p'",
}
_FACTS: dict[str, str] = {}
_BEGUN = time.monotonic()


def learn(guest: Guest) -> None:
    """Ask a guest what it is made of."""
    for name, script in _QUESTIONS.items():
        _FACTS[name] = guest.run("sh", "-c", script).stdout.strip()


def learn_specs(specs: list[Spec]) -> None:
    counts = Counter(spec.state for spec in specs)
    _FACTS["critest"] = ", ".join(f"{counts[state]} {state}" for state in sorted(counts))


def write(session: pytest.Session) -> None:
    """Put the table into the page, between its two marks."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    counts = {state: len(reporter.stats.get(state, ())) for state in ("passed", "failed", "error", "skipped")}
    rows = {
        "Date": time.strftime("%Y-%m-%d", time.gmtime()),
        **_FACTS,
        "Tests": ", ".join(f"{count} {state}" for state, count in counts.items() if count),
        "Took": f"{(time.monotonic() - _BEGUN) / 60:.0f} minutes",
    }
    table = "".join(f"| {name} | {said} |\n" for name, said in rows.items())
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, found, after = rest.partition(_END)
    assert found, f"the marks are not in {PAGE}"
    PAGE.write_text(f"{before}{_BEGIN}\n| | |\n|---|---|\n{table}\n{_END}{after}", encoding="utf-8")
