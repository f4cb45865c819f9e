"""docs/metrics.md has every metric with its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from orlop.cri.operate.metrics import Metrics
from orlop.kit.config import Config
from orlop.kit.node import Node
from orlop.pod.context import Pods
from tests.docs.pages import ROOT


def test_the_page_has_every_metric_with_its_labels(tmp_path: Path) -> None:
    node = Node(str(tmp_path / "r"), str(tmp_path / "s"))
    metrics = Metrics(Pods(node, Config({}, {}), finish=False))
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(orlop_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    found = {}
    for family in metrics.registry.collect():
        if not family.name.startswith("orlop_"):
            continue
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {"version", "python"} if family.type == "info" else _labels(metrics, family.name)
        found[family.name + suffix] = (family.type, labels)
    assert documented == found


def _labels(metrics: Metrics, name: str) -> set[str]:
    for metric in vars(metrics).values():
        if getattr(metric, "_name", "") == name:
            return set(metric._labelnames)
    return {"state"}  # counted when it is asked for
