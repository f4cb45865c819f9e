"""Runs critest against a daemon and reads its report."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.builds import program

SECONDS = 1800.0
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True)
class Spec:
    """One spec of critest. `state` is "passed", "failed" or "skipped"; `why` what it said of the last two.

    `group` is the first part of the name.
    """

    group: str
    name: str
    state: str
    seconds: float
    why: str = ""

    @property
    def is_benchmark(self) -> bool:
        return "benchmark" in f"{self.group} {self.name}".lower()

    @property
    def wants_apparmor(self) -> bool:
        return "apparmor" in f"{self.group} {self.name}".lower()

    @property
    def is_pinned(self) -> bool:
        """Its image is named by the digest of a manifest that nobody but its maker has."""
        return self.name.startswith("public image with digest")


def run(
    socket: str,
    folder: Path,
    *,
    focus: Sequence[str] = (),
    skip: Sequence[str] = (),
    arguments: Sequence[str] = (),
) -> list[Spec]:
    """Run it whole, or what `focus` says (regular expressions); its report and words land in `folder`."""
    report = folder / "critest.json"
    report.unlink(missing_ok=True)
    argv = [str(program("critest")), *flags(socket, report, focus, skip), *arguments]
    with (folder / "critest.log").open("wb") as log:
        subprocess.run(
            argv, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL, timeout=SECONDS, check=False
        )
    if not report.exists():
        raise RuntimeError(
            f"critest left no report: {(folder / 'critest.log').read_text(errors='replace')[-2000:]}"
        )
    return read(json.loads(report.read_text(encoding="utf-8")))


def flags(socket: str, report: Path, focus: Sequence[str] = (), skip: Sequence[str] = ()) -> list[str]:
    """What critest is to be told: the socket's path, where its report goes, which specs."""
    return [
        f"-runtime-endpoint=unix://{socket}",
        f"-image-endpoint=unix://{socket}",
        "-ginkgo.no-color",
        "-ginkgo.seed=1",
        f"-ginkgo.json-report={report}",
        *(f"-ginkgo.focus={each}" for each in focus),
        *(f"-ginkgo.skip={each}" for each in skip),
    ]


def read(report: Any) -> list[Spec]:
    """The specs of a Ginkgo JSON report, by group and name."""
    found = []
    for suite in report:
        for entry in suite.get("SpecReports") or []:
            if entry.get("LeafNodeType") == "It":
                found.append(_spec(entry))
    return sorted(found, key=lambda spec: (spec.group, spec.name))


def _spec(entry: Any) -> Spec:
    texts = [*(entry.get("ContainerHierarchyTexts") or []), entry["LeafNodeText"]]
    state = entry["State"]
    failure = entry.get("Failure") or {}
    return Spec(
        group=texts[0].removeprefix("[k8s.io] ").strip(),
        name=" ".join(texts[1:]).strip(),
        state=state if state in (PASSED, SKIPPED) else SKIPPED if state == "pending" else FAILED,
        seconds=entry.get("RunTime", 0) / 1e9,
        why=" ".join((failure.get("Message") or "").split()),
    )
