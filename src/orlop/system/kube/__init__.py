"""Kubernetes YAML to values, and on to the configurations that `pod` takes.

    text -> documents.py -> decode.py (fields.py, shape.py, validate.py) -> Declaration (model.py)
         -> expand.py -> DesiredPod
         -> translate.py (environment.py, resources.py) -> SandboxConfig, ContainerConfig

Contract
--------
- Every field of the API types is in one table, `fields.TABLE`: honoured, harmless (a warning names it) or
  refused (an error names it). What is in no row is a typing error. Nothing is silently dropped.
- Every value is frozen and survives JSON (`model.to_json`, `model.from_json`), defaults of the API filled in.
- Nothing here touches the machine: no files, no processes. `orlop.system.volumes` does.
- Follows: Kubernetes API v1.36 (core/v1, apps/v1), its defaults and its validation.
"""
