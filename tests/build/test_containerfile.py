"""The Containerfile language: what is read, where it stands, and what is said about mistakes."""

from __future__ import annotations

import pytest

from orlop.build.containerfile import model
from orlop.build.containerfile.errors import BadContainerfile
from orlop.build.containerfile.parse import parse, read, trigger
from orlop.kit import limits
from orlop.kit.errors import LimitExceeded, NotFound


def stage(text: str) -> tuple[model.Instruction, ...]:
    return parse(f"FROM scratch\n{text}\n".encode(), "Containerfile").stages[0].instructions


def one(text: str) -> model.Instruction:
    (found,) = stage(text)
    return found


def error(text: str) -> BadContainerfile:
    with pytest.raises(BadContainerfile) as caught:
        parse(text.encode(), "Containerfile")
    assert caught.value.hint
    return caught.value


def test_stages_names_and_global_arguments() -> None:
    text = b"ARG V=1\nFROM --platform=$BUILDPLATFORM debian:$V AS Build\nRUN a\nFROM build\nFROM a as last\n"
    found = parse(text, "x")
    assert [stage.name for stage in found.stages] == ["build", "1", "last"]
    assert found.arguments[0].pairs == (("V", "1"),)
    base = found.stages[0].base
    assert (base.image, base.platform, base.name) == ("debian:$V", "$BUILDPLATFORM", "build")
    assert found.stage("BUILD") is found.stages[0]
    assert found.stage("1") is found.stages[1]
    assert found.stage("last", before=2) is None
    assert found.stage("3") is found.stage("²") is None


def test_lines_continuations_and_comments() -> None:
    text = b"# note\n\nFROM a\nRUN one \\\n  # within\n\n  && two \\  \n  && three\n# after\nCMD x\n"
    run, cmd = parse(text, "f").stages[0].instructions
    assert isinstance(run, model.Run)
    assert run.command.words == ("one   && two   && three",)
    assert (run.place.line, run.place.last, cmd.place.line) == (4, 8, 10)
    assert str(run.place) == "f:4"
    assert run.text == "RUN one   && two   && three"


def test_the_escape_directive() -> None:
    found = parse(b"# escape=`\nFROM a\nRUN dir c:\\ `\n more\n", "x")
    assert found.escape == "`"
    run = found.stages[0].instructions[0]
    assert isinstance(run, model.Run)
    assert run.command.words == ("dir c:\\  more",)
    assert parse(b"# hello\n# escape=`\nFROM a\n", "x").escape == "\\"
    assert "second" in str(error("# escape=`\n# escape=`\nFROM a"))
    assert "escape" in str(error("# escape=x\nFROM a"))


def test_syntax_and_check_are_noted() -> None:
    found = parse(b"# syntax=docker/dockerfile:1.7-labs\n# check=skip=all\nFROM a\n", "x")
    assert (found.syntax, found.check, found.warnings) == ("docker/dockerfile:1.7-labs", "skip=all", ())
    found = parse(b"#syntax=example.invalid/other:1\nFROM a\n", "x")
    assert "not run" in str(found.warnings[0])


def test_heredocs_of_run() -> None:
    shell = ("/bin/sh", "-c")
    run = one("RUN <<EOF\necho $a\n  two\nEOF")
    assert isinstance(run, model.Run)
    assert run.script(shell) == model.Script(("/bin/sh", "-c", "echo $a\n  two\n"))
    assert (run.place.line, run.place.last) == (2, 5)
    run = one("RUN <<-EOF\n\techo a\n\tEOF")
    assert isinstance(run, model.Run)
    assert run.script(shell).argv[-1] == "echo a\n"
    run = one("RUN <<run.py\n#!/usr/bin/env python3\nprint()\nrun.py")
    assert isinstance(run, model.Run)
    assert run.script(shell, "/x") == model.Script(("/x/run.py",), "#!/usr/bin/env python3\nprint()\n")
    run = one("RUN cat <<A > /a && cat <<-'B' > /b\none\nA\n\ttwo\n\tB")
    assert isinstance(run, model.Run)
    assert run.script(shell).argv[-1] == "cat <<A > /a && cat <<-'B' > /b\none\nA\n\ttwo\nB"
    assert [document.expand for document in run.heredocs] == [True, False]
    run = one('RUN ["echo", "<<EOF"]')
    assert isinstance(run, model.Run)
    assert run.heredocs == ()
    assert "no end" in str(error("FROM a\nRUN <<EOF\necho"))
    copy = one("COPY <<'E /x")  # no here-document: its quote has no end
    assert isinstance(copy, model.Copy)
    assert (copy.sources, copy.heredocs) == (("<<'E",), ())


def test_json_and_shell_forms() -> None:
    for keyword, kind in (("RUN", model.Run), ("CMD", model.Cmd), ("ENTRYPOINT", model.Entrypoint)):
        found = one(f'{keyword} ["a b", "c"]')
        assert isinstance(found, kind)
        assert found.command == model.Command(("a b", "c"), shell=False)
        found = one(f"{keyword} ['a', b]")
        assert isinstance(found, kind)
        assert found.command.argv(("sh", "-c")) == ("sh", "-c", "['a', b]")
        assert "strings" in str(error(f"FROM a\n{keyword} [1]"))
        assert "without a command" in str(error(f"FROM a\n{keyword}"))
    empty = one("ENTRYPOINT []")
    assert isinstance(empty, model.Entrypoint)
    assert empty.command.words == ()


def test_flags() -> None:
    copy = one('COPY --from=b --chown=1:2 --chmod=755 --link --parents --exclude=a --exclude="b c" x y /z/')
    assert isinstance(copy, model.Copy)
    assert (copy.from_, copy.chown, copy.chmod, copy.link, copy.parents) == ("b", "1:2", "755", True, True)
    assert (copy.exclude, copy.sources, copy.destination) == (("a", "b c"), ("x", "y"), "/z/")
    add = one("ADD --checksum=sha256:ab --keep-git-dir=true --unpack=false --link=false x /z")
    assert isinstance(add, model.Add)
    assert (add.checksum, add.keep_git_dir, add.unpack, add.link) == ("sha256:ab", True, False, False)
    run = one(
        "RUN --mount=type=tmpfs,target=/t --mount=type=ssh --network=none --security=insecure -- --not-a-flag"
    )
    assert isinstance(run, model.Run)
    assert (run.network, run.security, run.command.words) == ("none", "insecure", ("--not-a-flag",))
    assert run.mount_options == ("type=tmpfs,target=/t", "type=ssh")
    assert "did you mean --chown?" in error("FROM a\nCOPY --chwon=1 a b").hint
    assert "twice" in str(error("FROM a\nCOPY --chown=1 --chown=2 a b"))
    assert "no value" in str(error("FROM a\nCOPY --from a b"))
    assert "true" in error("FROM a\nCOPY --link=1 a b").hint
    assert "--mount" in error("FROM a\nRUN --maunt=x y").hint
    assert "no variables" in str(error("FROM a\nCOPY --from=$x a b"))
    assert "no flags" in error("FROM a\nUSER --x y").hint


def test_pairs() -> None:
    env = one("ENV a=1 b=\"x y\" c=z\\ k d='$e'")
    assert isinstance(env, model.Env)
    assert env.pairs == (("a", "1"), ("b", '"x y"'), ("c", "z\\ k"), ("d", "'$e'"))
    old = one("LABEL a.b   the rest = of it")
    assert isinstance(old, model.Label)
    assert old.pairs == (("a.b", "the rest = of it"),)
    arg = one("ARG A B=1 C=")
    assert isinstance(arg, model.Arg)
    assert arg.pairs == (("A", None), ("B", "1"), ("C", ""))
    assert "no =" in str(error("FROM a\nENV a=b c"))
    assert "no value" in str(error("FROM a\nENV a"))
    assert "no name" in str(error("FROM a\nARG =x"))


def test_healthchecks() -> None:
    check = one("HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=300ms --retries=3 CMD a b")
    assert isinstance(check, model.Healthcheck)
    assert check.test == ("CMD-SHELL", "a b")
    times = (check.interval, check.timeout, check.start_period, check.start_interval, check.retries)
    assert times == (90 * 10**9, 1500 * 10**6, 300 * 10**6, 0, 3)
    check = one('HEALTHCHECK cmd ["a", "b"]')
    assert isinstance(check, model.Healthcheck)
    assert check.test == ("CMD", "a", "b")
    check = one("HEALTHCHECK none")
    assert isinstance(check, model.Healthcheck)
    assert check.test == ("NONE",)
    for wrong in (
        "CMD",
        "a",
        "NONE x",
        "--interval=1 CMD a",
        "--interval=1us CMD a",
        "--retries=-1 CMD a",
        "",
    ):
        error(f"FROM a\nHEALTHCHECK {wrong}")


def test_onbuild() -> None:
    found = one("ONBUILD COPY <<EOF /x\n$a\nEOF")
    assert isinstance(found, model.Onbuild)
    assert found.expression == "COPY <<EOF /x\n$a\nEOF"
    again = trigger(found.expression, "base")
    assert isinstance(again, model.Copy)
    assert again.heredocs[0].content == "$a\n"
    for wrong in ("ONBUILD RUN a", "FROM a", "MAINTAINER a", "RUM a", "COPY a", ""):
        error(f"FROM a\nONBUILD {wrong}")
    for hostile in ("FROM x", "ONBUILD RUN x", "RUN a\nRUN b", "", "RUN <<EOF"):
        with pytest.raises(BadContainerfile):
            trigger(hostile, "base")


def test_the_other_instructions() -> None:
    found = stage(
        'USER a:b\nWORKDIR /a b\nVOLUME /a /b\nVOLUME ["/c d"]\nEXPOSE 90 80/udp\nSHELL ["x", "-c"]\n'
        "STOPSIGNAL SIGINT\nMAINTAINER some one\nexpose 1"
    )
    assert [type(one).keyword for one in found] == [
        "USER", "WORKDIR", "VOLUME", "VOLUME", "EXPOSE", "SHELL", "STOPSIGNAL", "MAINTAINER", "EXPOSE",
    ]  # fmt: skip
    user, workdir, volumes, volume, expose, shell, *_ = found
    assert isinstance(user, model.User)
    assert user.user == "a:b"
    assert isinstance(workdir, model.Workdir)
    assert workdir.path == "/a b"
    assert isinstance(volumes, model.Volume)
    assert volumes.paths == ("/a", "/b")
    assert isinstance(volume, model.Volume)
    assert volume.paths == ("/c d",)
    assert isinstance(expose, model.Expose)
    assert expose.ports == ("80/udp", "90")
    assert isinstance(shell, model.Shell)
    assert shell.words == ("x", "-c")
    assert "JSON" in str(error("FROM a\nSHELL sh -c"))


def test_mistakes_name_the_line_and_what_to_write() -> None:
    found = error("FROM a\n\nRUM echo")
    assert str(found).startswith("Containerfile:3: there is no instruction 'RUM'")
    assert found.hint == "did you mean RUN?"
    assert error("FROM a\nCPOY a b").hint == "did you mean COPY?"
    assert error("FROM a\nXYZZYX a b").hint.startswith("the instructions are FROM, RUN")
    assert "before the first FROM" in str(error("RUN a\nFROM b"))
    for nothing in ("", "# only\n", "ARG a=1\n", "\n\n"):
        error(nothing)
    assert "one image" in str(error("FROM a b"))
    assert "name" in str(error("FROM a AS 1x"))
    assert "source and a destination" in str(error("FROM a\nCOPY x"))
    assert "destination" in str(error("FROM a\nCOPY x <<EOF\nEOF"))
    assert "zero byte" in str(error("FROM a\nRUN \0"))


def test_encodings() -> None:
    assert (
        parse("\ufeffFROM a\r\nRUN é \\\r\n b\r\n".encode(), "x").stages[0].instructions[0].text == "RUN é  b"
    )
    parse(b"# caf\xe9\nFROM a\n", "x")
    with pytest.raises(BadContainerfile, match="UTF-8") as caught:
        parse(b"FROM a\nRUN caf\xe9\n", "x")
    assert caught.value.subject == "x:2"


def test_warnings() -> None:
    text = b"FROM a\nMAINTAINER me\nENV old form\nCMD a\nCMD b\nRUN x \\\n\n y\n"
    found = parse(text, "x").warnings
    assert sorted(warned.place.line for warned in found) == [2, 3, 4, 7]
    assert any("authors" in warned.hint for warned in found)
    assert parse(b"FROM a\nRUN b\n", "x").warnings == ()


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LimitExceeded, match="instructions"):
        parse(b"FROM a\n" + b"RUN b\n" * (limits.CONTAINERFILE_INSTRUCTIONS + 1), "x")
    monkeypatch.setattr(limits, "CONTAINERFILE_SIZE", 20)
    with pytest.raises(LimitExceeded, match="longer"):
        parse(b"FROM a\n" + b"#" * 20, "x")
    with pytest.raises(NotFound):
        read("/nowhere/Containerfile")
