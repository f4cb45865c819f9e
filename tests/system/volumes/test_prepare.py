from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.kit import kernel
from orlop.kit.errors import InvalidInput, NotFound
from orlop.kit.node import Node
from orlop.system.kube.model import Data, DesiredPod
from orlop.system.volumes import cleanup, leftovers, prepare
from tests.system.kube.samples import FACTS, claim, config_map, declared, desired, pod_yaml, secret

pytestmark = pytest.mark.host


def made(node: Node, spec: str, *objects: str, container: str = "") -> tuple[DesiredPod, dict[str, Path]]:
    pod = desired(pod_yaml(spec, container, metadata="name: web\nlabels: {app: shop}"), *objects)
    data = declared(pod_yaml(), *objects).data
    return pod, {name: Path(path) for name, path in prepare(node, pod, data, FACTS).items()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_an_empty_dir_is_a_folder_that_anybody_may_write(node: Node) -> None:
    pod, paths = made(node, "volumes: [{name: e, emptyDir: {}}, {name: d}]")
    assert mode(paths["e"]) == mode(paths["d"]) == 0o777
    (paths["e"] / "kept").write_text("x")
    prepare(node, pod, Data(), FACTS)
    assert (paths["e"] / "kept").read_text() == "x"


def test_an_empty_dir_in_memory_is_a_tmpfs_of_its_size(node: Node) -> None:
    pod, paths = made(node, "volumes: [{name: m, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]")
    assert mode(paths["m"]) == 0o777
    status = os.statvfs(paths["m"])
    assert status.f_blocks * status.f_frsize == 1 << 20
    (paths["m"] / "kept").write_text("x")
    prepare(node, pod, Data(), FACTS)
    assert (paths["m"] / "kept").read_text() == "x"


def test_memory_is_bounded_by_the_pods_limit(node: Node) -> None:
    _, paths = made(
        node,
        "volumes: [{name: m, emptyDir: {medium: Memory, sizeLimit: 1Gi}}]",
        container="resources: {limits: {memory: 4Mi}}",
    )
    status = os.statvfs(paths["m"])
    assert status.f_blocks * status.f_frsize == 4 << 20


def test_config_maps_secrets_and_the_downward_api_become_files(node: Node) -> None:
    _, paths = made(
        node,
        """
        volumes:
        - {name: c, configMap: {name: c, items: [{key: k, path: sub/file, mode: 0600}]}}
        - {name: s, secret: {secretName: s, defaultMode: 0400}}
        - name: d
          downwardAPI:
            items:
            - {path: labels, fieldRef: {fieldPath: metadata.labels}}
            - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu}}
        - name: p
          projected:
            sources:
            - configMap: {name: c}
            - secret: {name: s, items: [{key: t, path: token}]}
            - configMap: {name: absent, optional: true}
            - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
        """,
        config_map("c", k="v", other="o"),
        secret("s", t="hidden"),
    )
    assert (paths["c"] / "sub/file").read_text() == "v"
    assert mode(paths["c"] / "sub/file") == 0o600
    assert not (paths["c"] / "other").exists()
    assert (paths["s"] / "t").read_text() == "hidden"
    assert mode(paths["s"] / "t") == 0o400
    assert (paths["d"] / "labels").read_text() == 'app="shop"'
    assert (paths["d"] / "cpu").read_text() == "4"
    assert {name: (paths["p"] / name).read_text() for name in ("k", "other", "token", "name")} == {
        "k": "v",
        "other": "o",
        "token": "hidden",
        "name": "web",
    }


def test_secrets_are_never_on_disk(node: Node) -> None:
    _, paths = made(node, "volumes: [{name: s, secret: {secretName: s}}]", secret("s", t="hidden"))
    assert os.stat(paths["s"]).st_dev != os.stat(node.state).st_dev
    assert str(paths["s"]).startswith(node.state)


def test_changed_data_is_exchanged_in_place(node: Node) -> None:
    pod, paths = made(node, "volumes: [{name: c, configMap: {name: c}}]", config_map("c", k="old", gone="x"))
    folder = os.open(paths["c"], os.O_PATH)
    try:
        prepare(node, pod, declared(pod_yaml(), config_map("c", k="new")).data, FACTS)
        assert Path(f"/proc/self/fd/{folder}/k").read_text() == "new"
        assert not Path(f"/proc/self/fd/{folder}/gone").exists()
    finally:
        os.close(folder)


def test_after_a_reboot_all_is_there_again(node: Node) -> None:
    spec = """
    volumes:
    - {name: s, secret: {secretName: s}}
    - {name: m, emptyDir: {medium: Memory}}
    - {name: e, emptyDir: {}}
    """
    pod, paths = made(node, spec, secret("s", t="hidden"))
    (paths["e"] / "kept").write_text("x")
    (paths["m"] / "gone").write_text("x")
    kernel.umount(str(paths["m"]))
    kernel.umount(os.path.dirname(paths["s"]))
    prepare(node, pod, declared(pod_yaml(), secret("s", t="hidden")).data, FACTS)
    assert (paths["s"] / "t").read_text() == "hidden"
    assert (paths["e"] / "kept").exists()
    assert list(paths["m"].iterdir()) == []


def test_what_is_absent_is_named(node: Node) -> None:
    pod = desired(pod_yaml("volumes: [{name: c, configMap: {name: c}}]"), config_map("c", k="v"))
    with pytest.raises(NotFound, match="pod default/web: there is no ConfigMap default/c"):
        prepare(node, pod, Data(), FACTS)
    items = "volumes: [{name: c, configMap: {name: c, items: [{key: k, path: p}]}}]"
    pod = desired(pod_yaml(items), config_map("c", k="v"))
    with pytest.raises(NotFound, match="key 'k' in ConfigMap default/c"):
        prepare(node, pod, declared(config_map("c", a="v")).data, FACTS)


def test_items_with_one_path_are_refused(node: Node) -> None:
    items = "[{key: a, path: x}, {key: b, path: x/y}]"
    with pytest.raises(InvalidInput, match="two items of a volume want"):
        made(
            node,
            f"volumes: [{{name: c, configMap: {{name: c, items: {items}}}}}]",
            config_map("c", a="1", b="2"),
        )


def test_a_claim_outlives_its_pod(node: Node) -> None:
    spec = "volumes: [{name: c, persistentVolumeClaim: {claimName: data}}]"
    pod, paths = made(node, spec, claim("data"))
    (paths["c"] / "kept").write_text("x")
    cleanup(node, pod.uid)
    _, again = made(node, spec, claim("data"))
    assert (again["c"] / "kept").read_text() == "x"


def test_fs_group_owns_what_the_pod_writes_to(node: Node) -> None:
    spec = """
    securityContext: {fsGroup: 4321}
    volumes:
    - {name: e, emptyDir: {}}
    - {name: m, emptyDir: {medium: Memory}}
    - {name: c, persistentVolumeClaim: {claimName: data}}
    - {name: s, secret: {secretName: s, defaultMode: 0400}}
    """
    objects = (claim("data"), secret("s", t="hidden"))
    pod, paths = made(node, spec, *objects)
    for name in ("e", "m", "c"):
        assert paths[name].stat().st_gid == 4321
        assert mode(paths[name]) == 0o2777
    assert ((paths["s"] / "t").stat().st_gid, mode(paths["s"] / "t")) == (4321, 0o440)
    (paths["c"] / "later").write_text("x")
    os.chown(paths["c"] / "later", 0, 0)
    prepare(node, pod, declared(pod_yaml(), *objects).data, FACTS)
    assert (paths["c"] / "later").stat().st_gid == 0  # once a pod, not at every refresh


def test_sub_paths_are_made_in_what_can_be_written(node: Node) -> None:
    _, paths = made(
        node,
        "volumes: [{name: e}, {name: c, configMap: {name: c}}]",
        config_map("c", k="v"),
        container="""
        env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
        volumeMounts:
        - {name: e, mountPath: /a, subPath: a/b}
        - {name: e, mountPath: /b, subPathExpr: logs/$(POD)}
        - {name: c, mountPath: /c, subPath: k}
        """,
    )
    assert mode(paths["e"] / "a/b") == 0o777
    assert (paths["e"] / "logs/web").is_dir()


def test_cleanup_takes_everything_away_and_is_harmless_twice(node: Node) -> None:
    pod, paths = made(
        node,
        "volumes: [{name: s, secret: {secretName: s}}, {name: m, emptyDir: {medium: Memory}}, {name: e}]",
        secret("s", t="hidden"),
    )
    assert leftovers(node) == [pod.uid]
    cleanup(node, pod.uid)
    cleanup(node, pod.uid)
    assert leftovers(node) == []
    assert not any(path.exists() for path in paths.values())
    assert node.state not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def test_cleanup_works_also_after_a_reboot_and_half_way(node: Node) -> None:
    pod, paths = made(node, "volumes: [{name: s, secret: {secretName: s}}, {name: e}]", secret("s", t="x"))
    kernel.umount(os.path.dirname(paths["s"]))
    os.rmdir(os.path.dirname(paths["s"]))
    cleanup(node, pod.uid)
    assert leftovers(node) == []


@pytest.mark.parametrize("uid", ["../x", "", ".", "a/b"])
def test_a_uid_that_is_no_name_is_refused(node: Node, uid: str) -> None:
    with pytest.raises(InvalidInput, match="is no pod's uid"):
        cleanup(node, uid)
