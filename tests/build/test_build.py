"""Whole builds: instructions, stages, the image that comes out."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.build.errors import StepFailed
from orlop.image.platform import Platform
from orlop.kit.errors import InvalidInput, NotFound, OrlopError, Unsupported
from tests.build.builds import Bench
from tests.support.node import busybox, put_image

pytestmark = pytest.mark.host


def test_every_instruction_reaches_the_config(bench: Bench) -> None:
    bench.write({"file": "content"})
    built = bench.make(
        """\
        ARG BASE=busybox
        FROM ${BASE} AS base
        ARG VERSION=1
        ENV A=one B="two $VERSION" PATH=/own:$PATH
        LABEL org.example.name="x y" second=2
        MAINTAINER somebody
        RUN echo "$VERSION $A $B" > /seen
        COPY file /copied/
        ADD file /added
        WORKDIR /work/here
        WORKDIR further
        RUN pwd > where
        USER 33:33
        RUN id -u > /tmp/who
        VOLUME /data ["/more"]
        EXPOSE 80 53/udp
        STOPSIGNAL SIGQUIT
        HEALTHCHECK --interval=5s --retries=2 CMD true
        SHELL ["/bin/sh", "-ec"]
        ENTRYPOINT exec sleep
        CMD ["10"]
        ONBUILD RUN echo triggered > /tmp/triggered
        """.replace('VOLUME /data ["/more"]', "VOLUME /data /more"),
        build_args={"VERSION": "7"},
        names=("app:1", "example.org/x/app"),
        labels={"third": "3"},
    )
    config = bench.config(built)
    run = config["config"]
    assert run["Env"][1:] == ["A=one", "B=two 7"] or run["Env"][0].startswith("PATH=/own:")
    assert run["Labels"] == {"org.example.name": "x y", "second": "2", "third": "3"}
    assert (run["User"], run["WorkingDir"]) == ("33:33", "/work/here/further")
    assert run["Volumes"] == {"/data": {}, "/more": {}}
    assert run["ExposedPorts"] == {"80/tcp": {}, "53/udp": {}}
    assert run["StopSignal"] == "SIGQUIT"
    assert run["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2}
    assert (run["Entrypoint"], run["Cmd"]) == (["/bin/sh", "-ec", "exec sleep"], ["10"])
    assert run["OnBuild"] == ["RUN echo triggered > /tmp/triggered"]
    assert config["author"] == "somebody"
    files = bench.files(built)
    assert files["seen"] == "7 one two 7\n"
    assert (files["copied/file"], files["added"]) == ("content", "content")
    assert (files["work/here/further/where"], files["tmp/who"]) == ("/work/here/further\n", "33\n")
    assert bench.store.image("localhost/app:1").id == built.id == bench.store.image("example.org/x/app").id
    layers = [entry for entry in config["history"] if not entry.get("empty_layer")]
    assert len(layers) == len(config["rootfs"]["diff_ids"])

    child = bench.make("FROM app:1\nENTRYPOINT []\nRUN cat /tmp/triggered")
    assert bench.heard.text == "triggered\n"
    assert "OnBuild" not in bench.config(child)["config"]
    assert "Cmd" not in bench.config(child)["config"]  # it was meant for the other ENTRYPOINT


def test_stages_are_built_as_they_are_needed(bench: Bench) -> None:
    text = """\
FROM busybox AS one
RUN echo 1 > /1
FROM busybox AS never
RUN exit 1
FROM scratch AS two
COPY --from=one /1 /from-one
FROM one
COPY --from=two /from-one /
COPY --from=busybox /etc/passwd /passwd
COPY --from=1 /etc/group /group
"""
    built = bench.make(text.replace("COPY --from=1 /etc/group /group\n", ""))
    files = bench.files(built)
    assert (files["1"], files["from-one"]) == ("1\n", "1\n")
    assert files["passwd"].startswith("root:")
    assert not any("exit 1" in step for step in bench.heard.steps)
    assert bench.files(bench.make(text, target="two")) == {"from-one": "1\n"}
    with pytest.raises(NotFound):
        bench.make(text, target="absent")


def test_independent_stages_run_at_the_same_time(bench: Bench) -> None:
    # Each waits for what only the other can give, by way of a cache that both mount.
    wait = "i=0; while [ ! -e /c/{0} ]; do i=$((i+1)); [ $i -lt 300 ] || exit 9; sleep 0.1; done"
    bench.make(
        f"""\
FROM busybox AS a
RUN --mount=type=cache,id=meet,target=/c touch /c/a; {wait.format("b")}
FROM busybox AS b
RUN --mount=type=cache,id=meet,target=/c touch /c/b; {wait.format("a")}
FROM scratch
COPY --from=a /etc/passwd /a
COPY --from=b /etc/passwd /b
"""
    )


def test_a_failing_command_says_where_and_what(bench: Bench) -> None:
    with pytest.raises(StepFailed) as caught:
        bench.make("FROM busybox\nRUN true\nRUN echo told; echo why >&2; exit 7\n")
    assert caught.value.code == 7
    assert "Containerfile:3" in caught.value.subject
    assert set(caught.value.output.split()) == {"told", "why"}


def test_a_base_that_cannot_be_had_says_where_it_is_named(bench: Bench) -> None:
    with pytest.raises(OrlopError) as caught:
        bench.make("FROM busybox\nFROM nowhere.example:1/app\n")
    assert caught.value.subject.startswith("Containerfile:2: ")


@pytest.mark.parametrize(
    ("name", "cause"),
    [("5", "no stage 5 before"), ("late", "stage late is not before"), ("own", "not before")],
)
def test_a_stage_that_is_not_before_is_no_source(bench: Bench, name: str, cause: str) -> None:
    with pytest.raises(OrlopError, match=cause):
        bench.make(f"FROM busybox AS own\nCOPY --from={name} /a /\nFROM own AS late\n", target="own")


def test_a_failure_ends_the_other_stages(bench: Bench) -> None:
    with pytest.raises(StepFailed) as caught:
        bench.make(
            """\
FROM busybox AS slow
RUN sleep 600
FROM busybox AS fails
RUN exit 3
FROM scratch
COPY --from=slow / /
COPY --from=fails / /
"""
        )
    assert caught.value.code == 3


def test_heredocs(bench: Bench) -> None:
    built = bench.make(
        """\
FROM busybox
RUN <<EOT
set -e
echo one > /lines
echo two >> /lines
EOT
RUN <<EOT
#!/bin/sh -e
echo "$0" > /script
EOT
COPY <<one <<two /texts/
first
one
second
two
"""
    )
    files = bench.files(built)
    assert files["lines"] == "one\ntwo\n"
    assert files["script"].startswith("/dev/pipes/")
    assert (files["texts/one"], files["texts/two"]) == ("first\n", "second\n")


def test_nothing_of_the_runtime_is_in_a_layer(bench: Bench) -> None:
    bench.write({"f": "x"})
    built = bench.make(
        """\
FROM busybox
COPY f /f
RUN --mount=type=secret,id=s --mount=type=cache,target=/var/cache/deep --mount=type=bind,target=/ctx \
    --mount=type=tmpfs,target=/t touch /only /t/x /var/cache/deep/x && cat /etc/resolv.conf /etc/hosts
""",
        secrets={"s": lambda: b"x"},
    )
    assert bench.layer_names(built) == ["only"]


def test_what_is_removed_is_removed(bench: Bench) -> None:
    built = bench.make(
        "FROM busybox\nRUN mkdir /d /keep && touch /d/a /d/b\n"
        "RUN rm -r /d/a && rm -r /bin/awk && mkdir /d/c && rm -rf /home && mkdir /home && touch /home/new\n"
    )
    names = bench.layer_names(built)
    assert {"d/.wh.a", "bin/.wh.awk", "d/c", "home/.wh..wh..opq", "home/new"} <= set(names)
    assert "d/b" not in names
    files = bench.files(built)
    assert {"d/b", "d/c/", "home/new"} <= set(files)
    assert not {"d/a", "bin/awk"} & set(files)


def test_networks_hosts_and_limits_of_run(bench: Bench) -> None:
    bench.make(
        """\
FROM busybox
RUN --network=none ip -o link | grep -v LOOPBACK && exit 1 || true
RUN grep '192.0.2.9.*db' /etc/hosts
RUN --network=host hostname > /host
""",
        add_hosts=(("192.0.2.9", ("db",)),),
    )


def test_what_cannot_be_done_is_refused_by_name(bench: Bench) -> None:
    with pytest.raises(Unsupported, match="not allowed"):
        bench.make("FROM busybox\nRUN --security=insecure true")
    with pytest.raises(Unsupported, match="ssh"):
        bench.make("FROM busybox\nRUN --mount=type=ssh true")
    with pytest.raises(Unsupported, match="nothing in this stage"):
        bench.make("FROM scratch\nRUN true")
    with pytest.raises(NotFound):
        bench.make("FROM absent\n")
    with pytest.raises(InvalidInput):
        bench.make("FROM busybox\nUNKNOWN x\n")
    with pytest.raises(InvalidInput):
        bench.make("FROM busybox\n", names=("a@sha256:" + "0" * 64,))


def test_privileged_where_it_is_allowed(bench: Bench) -> None:
    bench.make(
        "FROM busybox\nRUN --security=insecure mount -t tmpfs none /tmp\n", allow=("security.insecure",)
    )


def test_docker_format_and_annotations(bench: Bench) -> None:
    built = bench.make("FROM busybox\nRUN touch /x", format="docker")
    manifest = json.loads(bench.store.manifest_bytes(built.id))
    assert manifest["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
    assert {layer["mediaType"] for layer in manifest["layers"]} == {
        "application/vnd.docker.image.rootfs.diff.tar"
    }
    built = bench.make("FROM busybox\nRUN touch /x", annotations={"a": "b"})
    assert json.loads(bench.store.manifest_bytes(built.id))["annotations"] == {"a": "b"}


def test_history_is_told_as_others_tell_it(bench: Bench) -> None:
    built = bench.make('FROM busybox\nARG V=1\nRUN echo $V > /v\nCMD ["x"]\n')
    said = [entry["created_by"] for entry in bench.config(built)["history"]][-3:]
    assert said == [
        "/bin/sh -c #(nop) ARG V=1",
        "|1 V=1 /bin/sh -c echo $V > /v",
        '/bin/sh -c #(nop) CMD ["x"]',
    ]
    assert re.match(r"\d{4}-\d\d-\d\dT", bench.config(built)["created"])


def test_an_image_for_another_machine_is_made_but_not_run(bench: Bench) -> None:
    other = "s390x" if Platform.host().architecture != "s390x" else "amd64"
    put_image(bench.node, "docker.io/library/other:latest", replace(busybox(), architecture=other))
    bench.write({"f": "x"})
    built = bench.make(
        "FROM other\nCOPY f /f\nARG TARGETARCH\nENV FOR=$TARGETARCH", platform=f"linux/{other}"
    )
    config = bench.config(built)
    assert config["architecture"] == other
    assert f"FOR={other}" in config["config"]["Env"]
    if not any(name.startswith("qemu-") for name in os.listdir("/proc/sys/fs/binfmt_misc")):
        with pytest.raises(Unsupported, match=f"runs no programs for {other}"):
            bench.make("FROM other\nRUN true", platform=f"linux/{other}")


def test_named_contexts_are_folders_or_images(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_text("from there")
    built = bench.make(
        "FROM base\nCOPY --from=other f /f\nCOPY --from=image /etc/group /group\n"
        "RUN --mount=type=bind,from=other,target=/o cat /o/f\n",
        contexts={
            "base": "docker-image://busybox",
            "image": "docker-image://docker.io/library/busybox",
            "other": str(tmp_path / "other"),
        },
    )
    files = bench.files(built)
    assert (files["f"], bench.heard.text) == ("from there", "from there")
    assert "group" in files
