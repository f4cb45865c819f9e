"""Variables: where they are replaced, with what, and who wins."""

from __future__ import annotations

import time

import pytest

from orlop.build.containerfile import model
from orlop.build.containerfile.errors import BadContainerfile
from orlop.build.containerfile.expand import expanded, word, words
from orlop.build.containerfile.parse import parse
from orlop.build.containerfile.scope import Scope, globals_of, platform_args, unused_build_args
from orlop.kit import limits
from orlop.kit.errors import InvalidInput, LimitExceeded

VARIABLES = {"a": "foobarfoo", "empty": "", "blank": "x y", "path": "/usr/lib/a.so.1"}


def one(text: str) -> model.Instruction:
    return parse(f"FROM scratch\n{text}\n".encode(), "Containerfile").stages[0].instructions[0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$a", "foobarfoo"), ("${a}", "foobarfoo"), ("$ax", ""), ("${a}x", "foobarfoox"), ("$", "$"), ("a$",
        "a$"),
        ("\\$a", "$a"), ("'$a'", "$a"), ('"$a"', "foobarfoo"), ('"\\$a"', "$a"), ("\\\\$a", "\\foobarfoo"),
        ("${no:-x}", "x"), ("${empty:-x}", "x"), ("${empty-x}", ""), ("${no-x}", "x"), ("${no:-$a}",
        "foobarfoo"),
        ("${a:+x}", "x"), ("${empty:+x}", ""), ("${empty+x}", "x"), ("${no+x}",
        ""), ("${no:-${b:-${c:-y}}}", "y"),
        ("${a#f*}", "oobarfoo"), ("${a##f*o}", ""), ("${a#*o}", "obarfoo"), ("${a%o*}", "foobarfo"),
        ("${a%%o*}", "f"), ("${path##*/}", "a.so.1"), ("${path%/*}", "/usr/lib"), ("${path%%.*}",
        "/usr/lib/a"),
        ("${a/o/x}", "fxobarfoo"), ("${a//o/x}", "fxxbarfxx"), ("${a//o/}", "fbarf"), ("${a/?/x}",
        "xoobarfoo"),
        ("${a/f*r/x}", "xfoo"), ("${path//\\//_}", "_usr_lib_a.so.1"), ("${a:?no}", "foobarfoo"),
    ],
)  # fmt: skip
def test_substitutions(text: str, wanted: str) -> None:
    assert word(text, VARIABLES) == wanted


def test_words_are_split_after_the_substitution() -> None:
    assert words("$blank", VARIABLES) == ["x", "y"]
    assert words('"$blank" z', VARIABLES) == ["x y", "z"]
    assert words("a\\ b '' c", VARIABLES) == ["a b", "c"]
    assert words("1${no:-2 3}", VARIABLES) == ["12", "3"]


def test_the_escape_character_of_the_file() -> None:
    assert word("`$a c:\\x", VARIABLES, "`") == "$a c:\\x"


@pytest.mark.parametrize(
    "text", ["${a", "${", "${}", "${a^}", "${a:=b}", "'a", '"a', "${no:?}", "${a/b}", "${a#\\q}"]
)
def test_what_cannot_be_expanded(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        word(text, VARIABLES)
    assert caught.value.hint


def test_a_required_variable_says_its_own_words() -> None:
    with pytest.raises(BadContainerfile, match=r"Containerfile:2: .*give me a version") as caught:
        expanded(one("USER ${V:?give me a version}"), {})
    assert "--build-arg V=" in caught.value.hint


def test_growth_is_bounded() -> None:
    value, began = "x" * 1000, time.monotonic()
    with pytest.raises(LimitExceeded):
        for _ in range(40):
            value = word("$a$a$a", {"a": value})
    with pytest.raises(LimitExceeded):
        word("${a//?/" + "y" * 2000 + "}", {"a": "x" * 2000})
    with pytest.raises(LimitExceeded):
        word("${a:-" * 200 + "}" * 200, {})
    with pytest.raises(LimitExceeded):
        word("${a#x*}", {"a": "x" * (limits.EXPANSION_PATTERN + 1)})
    assert word("${a##" + "*x" * 30 + "y}", {"a": "x" * 2000}) == "x" * 2000  # no catastrophe
    assert time.monotonic() - began < 20


def test_what_is_expanded_and_what_is_not() -> None:
    values = {"v": "7", "p": "/p"}
    user = expanded(one("USER $v"), values)
    assert isinstance(user, model.User)
    assert user.user == "7"
    workdir = expanded(one("WORKDIR ${p}/x"), values)
    assert isinstance(workdir, model.Workdir)
    assert workdir.path == "/p/x"
    for same in (
        "CMD $v",
        "ENTRYPOINT $v",
        'SHELL ["$v"]',
        "HEALTHCHECK CMD $v",
        "ONBUILD RUN $v",
        "RUN echo $v",
    ):
        assert expanded(one(same), values) == one(same)
    copy = expanded(
        one("COPY --chown=$v --chmod=$v --from=x --exclude=$v $v <<E ${p}/\n$v '$v' \\$v\nE"), values
    )
    assert isinstance(copy, model.Copy)
    assert (copy.chown, copy.chmod, copy.sources, copy.destination) == ("7", "7", ("7",), "/p/")
    assert copy.exclude == ("$v",)
    assert copy.heredocs[0].content == "7 '7' $v\n"
    quoted = expanded(one("COPY <<'E' /x\n$v\nE"), values)
    assert isinstance(quoted, model.Copy)
    assert quoted.heredocs[0].content == "$v\n"
    label = expanded(one("LABEL a$v=\"$v x\" b='$v'"), values)
    assert isinstance(label, model.Label)
    assert label.pairs == (("a7", "7 x"), ("b", "$v"))
    volume = expanded(one("VOLUME $p /q"), values)
    assert isinstance(volume, model.Volume)
    assert volume.paths == ("/p", "/q")
    with pytest.raises(BadContainerfile):
        expanded(one("VOLUME $none"), values)


def test_ports() -> None:
    expose = expanded(one("EXPOSE 90 80-82/UDP $p 53/udp ${q:-1} 2/sctp"), {"p": "8080/tcp"})
    assert isinstance(expose, model.Expose)
    assert expose.ports == (
        "1/tcp", "2/sctp", "53/udp", "80/udp", "81/udp", "82/udp", "90/tcp", "8080/tcp",
    )  # fmt: skip
    for wrong in ("0-70000", "a", "80/xyz", "9-8", "$none"):
        with pytest.raises(BadContainerfile):
            expanded(one(f"EXPOSE {wrong}"), {})


def test_signals() -> None:
    for good in ("9", "SIGTERM", "term", "SIGRTMIN+3", "$s"):
        expanded(one(f"STOPSIGNAL {good}"), {"s": "INT"})
    for wrong in ("0", "65", "SIGNOPE", "$none", "-1"):
        with pytest.raises(BadContainerfile):
            expanded(one(f"STOPSIGNAL {wrong}"), {})


def test_mounts() -> None:
    run = expanded(
        one(
            "RUN --mount=type=cache,target=$t,id=a,sharing=locked,uid=$u,mode=0755,ro "
            "--mount=type=secret,id=s,env=S,required "
            "--mount=type=tmpfs,dst=/t,size=1g --mount=source=a,target=/b,rw=true,from=st --mount=type=ssh x"
        ),
        {"t": "/c", "u": "5"},
    )
    assert isinstance(run, model.Run)
    cache, secret, tmpfs, bind, ssh = run.mounts
    assert cache == model.Mount(
        "cache", target="/c", id="a", sharing="locked", uid=5, mode=0o755, read_only=True
    )
    assert (secret.kind, secret.id, secret.env, secret.required) == ("secret", "s", "S", True)
    assert (tmpfs.size, tmpfs.read_only) == (1 << 30, False)
    assert (bind.kind, bind.source, bind.from_, bind.read_only) == ("bind", "a", "st", False)
    assert ssh.kind == "ssh"
    for wrong in (
        "type=nfs,target=/x", "type=cache", "type=secret", "type=bind,target=/x,size=1",
        "type=cache,target=/x,mode=9",
        "type=secret,id=a,source=b", "target=/x,what=1", "type=cache,target=/x,sharing=some",
        "type=tmpfs,target=/t,from=a",
        "type=tmpfs,target=/t,size=x", "type=cache,target=/x,uid=-1", "target=/x,source",
    ):  # fmt: skip
        with pytest.raises(BadContainerfile) as caught:
            expanded(one(f"RUN --mount={wrong} x"), {})
        assert caught.value.hint, wrong
    with pytest.raises(BadContainerfile, match="no variables"):
        one("RUN --mount=from=$x,target=/x y")


def scope(text: str, build_args: dict[str, str] | None = None, env: dict[str, str] | None = None) -> Scope:
    given = build_args or {}
    found = parse(text.encode(), "Containerfile")
    args = globals_of(found, given, platform_args("linux/amd64", "linux/arm/v7", "last"))
    made = Scope(env or {}, global_args=args, build_args=given, escape=found.escape)
    for instruction in found.stages[-1].instructions:
        if isinstance(instruction, model.Arg):
            made.arg(instruction)
        elif isinstance(instruction, model.Env):
            made.env(instruction)
    return made


def test_who_wins() -> None:
    assert scope("FROM a\nARG x=1").variables["x"] == "1"
    assert scope("FROM a\nARG x=1", {"x": "2"}).variables["x"] == "2"
    assert scope("FROM a\nARG x=1\nENV x=3", {"x": "2"}).variables["x"] == "3"
    assert scope("FROM a\nENV x=3\nARG x=1", {"x": "2"}).variables["x"] == "3"
    assert scope("FROM a\nARG x=1", {"x": "2"}, {"x": "base"}).variables["x"] == "base"
    assert scope("ARG x=g\nFROM a\nARG x").variables["x"] == "g"
    assert scope("ARG x=g\nFROM a\nARG x=own").variables["x"] == "own"
    assert "x" not in scope("ARG x=g\nFROM a").variables
    assert "x" not in scope("FROM a\nARG x").variables
    assert "x" not in scope("FROM a", {"x": "2"}).variables


def test_env_sees_what_was_before_its_line() -> None:
    made = scope("FROM a\nENV abc=hello\nENV abc=bye def=$abc\nENV ghi=$abc")
    assert made.environment == {"abc": "bye", "def": "hello", "ghi": "bye"}


def test_arg_sees_what_is_left_of_it() -> None:
    made = scope("FROM a\nARG a=1 b=${a}2\nENV c=$b")
    assert made.environment == {"c": "12"}
    assert made.arguments == {"a": "1", "b": "12"}
    assert made.run_environment == {"a": "1", "b": "12", "c": "12"}


def test_global_arguments_and_platforms() -> None:
    found = parse(b"ARG R=docker.io\nARG I=$R/x\nFROM --platform=$BUILDPLATFORM ${I}:${T:-1}", "x")
    args = globals_of(found, {"R": "here"}, platform_args("linux/amd64", "linux/arm/v7"))
    base = expanded(found.stages[0].base, args)
    assert (base.image, base.platform) == ("here/x:1", "linux/amd64")
    assert (args["TARGETARCH"], args["TARGETVARIANT"], args["TARGETOS"]) == ("arm", "v7", "linux")
    assert args["TARGETSTAGE"] == "default"
    assert scope("FROM a\nARG TARGETPLATFORM TARGETSTAGE").arguments == {
        "TARGETPLATFORM": "linux/arm/v7",
        "TARGETSTAGE": "last",
    }
    with pytest.raises(BadContainerfile, match="names no image"):
        expanded(parse(b"FROM $NO", "x").stages[0].base, {})


def test_proxies_are_seen_by_run_only() -> None:
    made = scope("FROM a", {"HTTP_PROXY": "p", "no_proxy": "n"})
    assert made.run_environment == {"HTTP_PROXY": "p", "no_proxy": "n"}
    assert made.variables == made.arguments == made.environment == {}
    assert scope("FROM a\nARG HTTP_PROXY", {"HTTP_PROXY": "p"}).arguments == {"HTTP_PROXY": "p"}


def test_a_stage_that_starts_from_another_inherits() -> None:
    parent = scope("FROM a\nARG x=1\nENV y=2")
    child = parent.child()
    child.env(model.Env(model.Place("f", 1, 1), "", (("y", "$x$y"),)))
    assert child.environment == {"y": "12"}
    assert parent.environment == {"y": "2"}


def test_unused_build_arguments() -> None:
    found = parse(b"ARG a\nFROM x\nARG b=1\nONBUILD ARG c", "x")
    given = dict.fromkeys(("a", "b", "c", "d", "HTTP_PROXY", "TARGETARCH", "SOURCE_DATE_EPOCH"), "")
    assert unused_build_args(found, given) == ["d"]
