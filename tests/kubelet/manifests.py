"""Kubernetes objects in the forms that the tests want."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]


def container(image: str, *command: str, name: str = "main", **more: Any) -> Document:
    pull = {"imagePullPolicy": "IfNotPresent"}  # it is in the store, and no registry is in this network
    return {"name": name, "image": image, "command": list(command), **pull, **more}


def pod(name: str, *containers: Document, **spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": list(containers), **spec},
    }


def deployment(name: str, image: str, *command: str, replicas: int) -> Document:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(image, *command)]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def job(name: str, main: Document, *, init: list[Document]) -> Document:
    spec = {"restartPolicy": "Never", "initContainers": init, "containers": [main]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }
