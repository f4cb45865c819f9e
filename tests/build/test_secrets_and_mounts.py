"""RUN --mount: secrets leave no trace, caches outlive builds, what is bound is read or thrown away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput
from tests.build.builds import Bench

pytestmark = pytest.mark.host

_WORD = "the-word-9f4a7c21"


def test_a_secret_leaves_no_trace(bench: Bench) -> None:
    built = bench.make(
        """\
FROM busybox
RUN --mount=type=secret,id=file,target=/key,mode=0440,uid=33,gid=33 \
    --mount=type=secret,id=variable,env=TOKEN --mount=type=secret,id=both,env=BOTH,target=/both \
    stat -c '%a %u %g' /key && cat /key | wc -c && test -n "$TOKEN" && test "$BOTH" = "$(cat /both)" \
    && grep -q ' /key tmpfs' /proc/mounts && touch /done
RUN test ! -e /key && test -z "$TOKEN"
""",
        secrets=dict.fromkeys(("file", "variable", "both"), lambda: _WORD.encode()),
    )
    assert bench.heard.text.split("\n")[:2] == ["440 33 33", str(len(_WORD))]
    assert bench.layer_names(built) == ["done"]
    for folder in (bench.node.root, bench.node.state):
        found = subprocess.run(["grep", "-rlF", _WORD, folder], capture_output=True, text=True, check=False)
        assert found.stdout == ""


def test_a_secret_is_no_part_of_the_key(bench: Bench) -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null && touch /f\n"
    bench.make(text, secrets={"s": lambda: b"1"})
    assert bench.make(text, secrets={"s": lambda: b"2"}).cached == 1


def test_a_required_secret_is_asked_for(bench: Bench) -> None:
    with pytest.raises(InvalidInput, match="required"):
        bench.make("FROM busybox\nRUN --mount=type=secret,id=s,required=true true")
    bench.make("FROM busybox\nRUN --mount=type=secret,id=s test ! -e /run/secrets/s")


def test_a_cache_outlives_its_build(bench: Bench) -> None:
    text = "FROM busybox\nARG N\nRUN --mount=type=cache,target=/c,mode=0711,uid=5,gid=6 {0}"
    built = bench.make(text.format("echo $N >> /c/f; stat -c '%a %u %g' /c"), build_args={"N": "1"})
    assert bench.heard.text == "711 5 6\n"
    assert built.steps == 1
    assert "c/" not in bench.files(built)
    bench.make(text.format("echo $N >> /c/f; cat /c/f"), build_args={"N": "2"})
    assert bench.heard.text == "1\n2\n"
    bench.make(text.replace("target=/c", "id=other,target=/c").format("ls /c"))
    assert bench.heard.text == ""


def test_a_cache_begins_as_what_it_is_from(bench: Bench) -> None:
    bench.make(
        "FROM busybox AS s\nRUN mkdir /full && echo x > /full/f\n"
        "FROM busybox\nRUN --mount=type=cache,target=/c,from=s,source=/full cat /c/f"
    )
    assert bench.heard.text == "x\n"


def test_what_is_bound_is_read_only_or_thrown_away(bench: Bench) -> None:
    bench.write({"src/f": "mine"})
    built = bench.make(
        """\
FROM busybox AS s
RUN mkdir /full && echo x > /full/f
FROM busybox
RUN --mount=type=bind,source=src,target=/ro --mount=type=bind,source=src,target=/rw,rw \
    --mount=type=bind,from=s,source=/full,target=/stage,rw --mount=type=bind,source=src/f,target=/one,rw \
    --mount=type=bind,from=s,target=/all \
    ! touch /ro/new 2>/dev/null && cat /ro/f && echo y > /rw/f && touch /rw/new && cat /rw/f \
    && echo z > /stage/f && cat /stage/f && echo w > /one && cat /one && /all/bin/echo ran
"""
    )
    assert bench.heard.text == "miney\nz\nw\nran\n"
    assert (bench.folder / "src" / "f").read_text() == "mine"
    assert os.listdir(bench.folder / "src") == ["f"]
    assert not {"ro/", "rw/", "stage/", "one"} & set(bench.files(built))


def test_a_link_of_the_context_leads_nowhere_else(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text(_WORD)
    bench.folder.joinpath("link").symlink_to(outside)
    for line in ("RUN --mount=type=bind,source=link,target=/x cat /x/f", "COPY link/f /f"):
        with pytest.raises(Exception) as caught:
            bench.make(f"FROM busybox\n{line}")
        assert _WORD not in bench.heard.text
        assert caught.type.__module__.startswith("orlop.")


def test_a_tmpfs_has_its_size(bench: Bench) -> None:
    bench.make(
        "FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m"
        " head -c 500000 /dev/zero > /t/a && ! head -c 900000 /dev/zero > /t/b 2>/dev/null"
    )
