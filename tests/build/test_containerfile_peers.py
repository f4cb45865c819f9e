"""Our parser against BuildKit's own, our ignore files against moby's: over written and over random texts."""

from __future__ import annotations

import os
import random
import re

import pytest

from orlop.build.context.pattern import Pattern
from orlop.kit.errors import OrlopError
from tests.build import peers

pytestmark = [pytest.mark.host, pytest.mark.timeout(600)]  # the first time it builds the peer

#: Texts of each kind; ORLOP_PEER_TEXTS=100000 for a long run, ORLOP_PEER_SEED for another one.
COUNT = int(os.environ.get("ORLOP_PEER_TEXTS", "3000"))
SEED = int(os.environ.get("ORLOP_PEER_SEED", "20261121"))

WRITTEN = [
    "FROM scratch",
    "# syntax=docker/dockerfile:1\n# escape=`\nFROM a AS b\nRUN echo `\n  more\nCOPY c:\\x \\y\n",
    "ARG A=1\nFROM --platform=$BUILDPLATFORM img:$A as One\nRUN a &&\\\n# note\n\n  b\nFROM one\n",
    "FROM a\nRUN <<EOF\necho $x\nEOF\nRUN <<-'E' cat > /x && <<F cat\n\tone\n\tE\ntwo\nF\nRUN 3<<EOF\nEOF\n",
    "FROM a\nCOPY <<\"A\" <<-B /x/\n$no\nA\n\t$yes\n\tB\nADD <<A b /\nx\nA\n",
    "FROM a\nENV a=1 b=\"2 3\" c='4\\' d=e\\ f\nENV old form of it\nLABEL \"a.b\"=\"c\nLABEL x=y\n",
    "FROM a\nHEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=300ms --retries=3 CMD curl || x 1\n",
    "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD [\"a\"]\nSHELL [\"a\",\"b\"]\nSTOPSIGNAL SIGTERM\nUSER a:b\n",
    "FROM a\nONBUILD RUN <<EOF\nx\nEOF\nONBUILD COPY . /x\nVOLUME [\"/a\", \"/b\"]\n",
    "FROM a\nVOLUME /a /b\nEXPOSE 90 80/udp 1-3\n",
    "FROM a\nCMD [\"a\\u00e9\\ud800\", \"\\n\"]\nCMD [1]\n",
    "FROM a\nCMD ['a']\nENTRYPOINT [\"a\", ]\nRUN []x\nCMD []\n",
    "FROM a\nCOPY --link --chown=1:2 --chmod=755 --exclude=a --exclude=\"b c\" --parents --from=x a b /c\n",
    "FROM a\nRUN --mount=type=cache,target=/x --mount=\"type=bind,target=/y\" --network=none -- --x y\n",
    "\ufeffFROM a\r\nRUN b \\\r\n  c\r\n\r\nCMD d\r\n",
    "# escape=\\\n# escape=\\\nFROM a\n", "#escape=x\nFROM a\n", "\n# escape=`\nFROM a\nRUN b \\\n c\n",
    "RUN a\nFROM b\n", "FROM\n", "FROM a b\n", "FROM a AS 1x\n", "FROM a\nRUN <<EOF\n", "FROM a\nCOPY a\n",
    "FROM a\nENV a\n", "FROM a\nENV a=b c\n", "FROM a\nARG =x\n", "FROM a\nARG a b=c d=\n",
    "FROM a\nCOPY a <<E\nE\n",
    "FROM a\nONBUILD ONBUILD RUN a\n", "FROM a\nONBUILD FROM a\n", "FROM a\nSHELL a\n", "FROM a\nUSER\n",
    "FROM a\nRUN x \\", "FROM a\n\\\n", "FROM a\nCOPY --link=maybe a b\n", "FROM a\nCOPY --from a b c\n",
]  # fmt: skip

_LINES = [
    "FROM a", "FROM a AS b", "FROM --platform=$P a as B", "ARG x", "ARG x=1 y", 'ENV a=b c="d e"',
    "ENV a b c",
    "LABEL a=b\\ c", "LABEL x y", "RUN echo", 'RUN ["a","b"]', 'RUN ["a", 1]', "RUN [a", "RUN <<EOF", "EOF",
    "RUN <<-E cat", "\tE", "COPY a b", "COPY --from=x --link a b c", "COPY <<E /x", "E", "ADD --chown=1 a b",
    'ADD ["a b","c"]', "USER x", "WORKDIR /a b", "VOLUME /a /b", 'VOLUME ["/a"]', "EXPOSE 80 90/udp", "CMD x",
    'CMD ["x"]', "ENTRYPOINT []", 'SHELL ["a"]', "STOPSIGNAL 9", "HEALTHCHECK NONE",
    "HEALTHCHECK --interval=1s --retries=3 CMD a", 'HEALTHCHECK CMD ["a"]', "ONBUILD RUN a",
    "ONBUILD COPY <<E /x",
    "MAINTAINER a b", "# comment", "# escape=`", "# syntax=x", "", "\\", "  \\", "a \\", "a`", " ", " # c",
    "\t",
    "'\"", '"', "'", "\\\\", "--", "--x=y", "--x", "=", "$a", "<<", "<<'E'", "3<<E", "\r", "RUN a \\",
    "RUN a`",
    "CMD a \\ ", "run echo \\", "foo", "\xa0", "\x85", "é", "RUN --mount=type=cache,target=/a x",
    "# check=skip=all",
    "COPY --exclude=a --exclude=b x y", "RUN --network=none x", "ARG a=\"b c\" d='e f'", "ENV a='x\\' b",
]  # fmt: skip
_INSIDE = ["\\", '"', "'", " ", "\t", "\n", "$", "`", "<", "="]


def _told(differences: list[str]) -> str:
    return f"{len(differences)} differences\n" + "\n".join(sorted(differences, key=len)[:10])


def test_written_files_are_read_alike() -> None:
    differences = peers.parse_differences(WRITTEN)
    assert not differences, _told(differences)


def test_random_files_are_read_alike() -> None:
    chosen = random.Random(SEED)
    texts = []
    for _ in range(COUNT):
        lines = ["FROM x"] if chosen.random() < 0.7 else []
        for _ in range(chosen.randint(1, 9)):
            line, what = chosen.choice(_LINES), chosen.random()
            if what < 0.2:
                line += " " + chosen.choice(_LINES)
            elif what < 0.3:
                line += chosen.choice(_LINES)
            elif what < 0.35:
                at = chosen.randint(0, len(line))
                line = line[:at] + chosen.choice(_INSIDE) + line[at:]
            lines.append(line)
        texts.append(chosen.choice(["\n", "\n", "\n", "\r\n"]).join(lines) + chosen.choice(["", "\n"]))
    assert sum(not peers.ours_parsed(text)["error"] for text in texts) > COUNT / 20
    differences = peers.parse_differences(texts)
    assert not differences, _told(differences)


VARIABLES = {
    "a": "foobarfoo", "b": "", "path": "/usr/local/bin:/bin", "d": "a b  c", "q": "it's \"x\"", "s": "*?\\x",
    "u": "é日本",
}  # fmt: skip
_PIECES = [
    "$a", "$b", "$c", "${a}", "${c}", "$", "$$", "$1", "${", "}", "'", '"', "\\", "\\$a", " ", "  ", "x",
    "é", "/",
    "*", "?", "a", "o", "\\*", "\\/", "\\}", "<<", "< ", "${d}", "$q", "$u", "${u}", "`",
]  # fmt: skip
_OPERATORS = [":-", "-", ":+", "+", ":?", "?", "#", "##", "%", "%%", "/", "//", ":=", "=", ":#", "^"]
_WORDS = ["o", "f*", "*o", "?", "/", "b", "\\*", "x", "", ":", "'o'", '"b"', "*", "bar"]


def _substitution(chosen: random.Random, depth: int = 0) -> str:
    def inner() -> str:
        plain = [piece for piece in _PIECES if piece not in ("\\", "\\$a")]
        parts = []
        for _ in range(chosen.randint(0, 2)):
            kind = chosen.randint(0, 2)
            if kind == 1 and depth < 2:
                parts.append(_substitution(chosen, depth + 1))
            else:
                parts.append(chosen.choice(plain if kind == 2 else _WORDS))
        return "".join(parts)

    name = chosen.choice(["a", "b", "c", "d", "path", "s", "u", "", "1", "#"])
    operator = chosen.choice(_OPERATORS)
    end = f"/{inner()}" if operator in ("/", "//") else ""
    return f"${{{name}{operator}{inner()}{end}}}"


@pytest.mark.parametrize("quoteless", [False, True], ids=["words", "here-documents"])
@pytest.mark.parametrize("escape", ["\\", "`"])
def test_random_substitutions_give_the_same(escape: str, quoteless: bool) -> None:
    chosen = random.Random(SEED)
    texts = [
        "".join(
            chosen.choice(_PIECES) if chosen.random() < 0.5 else _substitution(chosen)
            for _ in range(chosen.randint(1, 4))
        )
        for _ in range(COUNT)
    ]
    differences = peers.expand_differences(texts, VARIABLES, escape, quoteless=quoteless)
    assert not differences, _told(differences)


_PARTS = [
    "a", "b", "foo", "*", "**", "?", "/", "/", "[a-c]", "[^a]", "[a", "\\*", "\\", "!", "#", ".", "..", " ",
    "a.txt",
    "*.txt", "**/", "/**", "foo/bar", "x+", "(", "$", "é", "[]", "[a-]", "]",
]  # fmt: skip
PATHS = [
    "a", "b", "foo", "foo/bar", "foo/a.txt", "a.txt", "foo/bar/a.txt", "x+", "a/b/c/d", "é", "foo/*", "*",
    ".a",
    "ab", "abc", "a/foo", "**", "foo.txt/b", "(", "]",
]  # fmt: skip
#: moby puts these into its regular expressions unchanged, so that they mean other things there.
_QUIRKS = re.compile(r"\\\w|\[[^\]]*[*?.(+$\\]")


def _ignore_files(count: int) -> list[str]:
    chosen = random.Random(SEED)
    made = (
        "\n".join(
            "".join(chosen.choice(_PARTS) for _ in range(chosen.randint(1, 5)))
            for _ in range(chosen.randint(1, 4))
        )
        for _ in range(count)
    )
    return [text for text in made if not _QUIRKS.search(text)]


def test_random_ignore_files_leave_the_same_out() -> None:
    written = [
        "*\n!a\n",
        "**/a.txt\n!foo/**\n",
        "# note\n/foo\n!/foo/bar\n",
        "foo/*\n",
        "**\n!**/*.txt",
        "\ufeffa\n",
    ]
    differences = peers.ignore_differences([*written, *_ignore_files(COUNT)], PATHS)
    assert not differences, _told(differences)


def test_both_ways_to_match_a_pattern_agree() -> None:
    compared = 0
    for line in {line for text in _ignore_files(COUNT) for line in text.split("\n")}:
        try:
            pattern = Pattern(line.strip() or "x")
        except OrlopError:
            continue
        if pattern._suffix is not None:  # moby's quirk has no tokens
            continue
        compared += 1
        for path in PATHS:
            assert pattern.matches(path) == pattern.followed(path), (line, path)
    assert compared > COUNT / 20
