"""Contexts: folders, archives, standard input; which Containerfile and which ignore file count."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from orlop.build.add import digest
from orlop.build.context.ignore import Ignore
from orlop.build.context.open import Context, open_context, open_named
from orlop.build.context.tree import Tree
from orlop.kit import limits
from orlop.kit.errors import Corrupt, InvalidInput, LimitExceeded, NotFound
from tests.build.trees import instruction, make
from tests.support.images import Entry, symlink, tar

pytestmark = pytest.mark.host  # archives set owners


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return make(tmp_path / "scratch", {})


def names(context: Context) -> set[str]:
    return {"/".join(node.parts) for node in context.tree.walk(()) if node.parts}


def test_a_folder(tmp_path: Path, scratch: Path) -> None:
    folder = make(tmp_path / "c", {"Dockerfile": "FROM d", "a": "1"})
    with open_context(str(folder), scratch=str(scratch)) as context:
        assert (context.containerfile, context.name) == (b"FROM d", "Dockerfile")
        assert names(context) == {"Dockerfile", "a"}
    make(folder, {"Containerfile": "FROM c"})
    with open_context(str(folder), scratch=str(scratch)) as context:
        assert (context.containerfile, context.name) == (b"FROM c", "Containerfile")
    assert list(scratch.iterdir()) == []


def test_a_containerfile_elsewhere(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "c", {"Containerfile": "FROM c", "docker/My": "FROM my", "a": "1"})
    other = make(tmp_path / "other", {"F": "FROM other", "F.containerignore": "a", "F.dockerignore": "*"})
    monkeypatch.chdir(tmp_path)
    with open_context(str(folder), file=str(other / "F"), scratch=str(scratch)) as context:
        assert context.containerfile == b"FROM other"
        assert names(context) == {"Containerfile", "docker", "docker/My"}
    with open_context(str(folder), file="other/F", scratch=str(scratch)) as context:
        assert context.containerfile == b"FROM other"
    with open_context(str(folder), file="docker/My", scratch=str(scratch)) as context:
        assert context.containerfile == b"FROM my"
    with open_context(str(folder), file="-", scratch=str(scratch), stdin=io.BytesIO(b"FROM in")) as context:
        assert (context.containerfile, context.name) == (b"FROM in", "standard input")
        assert "a" in names(context)
    with pytest.raises(NotFound, match="nowhere"):
        open_context(str(folder), file="nowhere", scratch=str(scratch))


def test_which_ignore_file_counts(tmp_path: Path, scratch: Path) -> None:
    files = {"Containerfile": "FROM a", "a": "", "b": "", "c": ""}
    found = []
    for name, text in (
        (".dockerignore", "a"),
        (".containerignore", "b"),
        ("Containerfile.dockerignore", "c"),
    ):
        files[name] = text
        folder = make(tmp_path / f"c{len(files)}", files)
        with open_context(str(folder), scratch=str(scratch)) as context:
            found.append(sorted({"a", "b", "c"} - names(context)))
    assert found == [["a"], ["b"], ["c"]]


def test_the_containerfile_may_be_ignored(tmp_path: Path, scratch: Path) -> None:
    folder = make(tmp_path / "c", {"Containerfile": "FROM a", ".containerignore": "*", "x": ""})
    with open_context(str(folder), scratch=str(scratch)) as context:
        assert context.containerfile == b"FROM a"
        assert names(context) == set()


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lambda data: zstandard.ZstdCompressor().compress(data)]
)
def test_an_archive(pack: object, tmp_path: Path, scratch: Path) -> None:
    assert callable(pack)
    entries = [
        Entry("./Containerfile", b"FROM a"),
        Entry("d/f", b"1"),
        Entry("d/g", b"2"),
        Entry(".dockerignore", b"d/g"),
    ]
    data = pack(tar(entries))
    with open_context("-", scratch=str(scratch), stdin=io.BytesIO(data)) as context:
        assert context.containerfile == b"FROM a"
        assert names(context) == {".dockerignore", "Containerfile", "d", "d/f"}
    (tmp_path / "context.tar").write_bytes(data)
    with open_context(str(tmp_path / "context.tar"), scratch=str(scratch)) as context:
        assert "d/f" in names(context)
    assert list(scratch.iterdir()) == []


def test_standard_input_in_small_pieces(scratch: Path) -> None:
    data = tar([Entry("Containerfile", b"FROM a"), Entry("big", os.urandom(6 << 20))])
    reading, writing = os.pipe()

    def feed() -> None:
        with open(writing, "wb", buffering=0) as stream:
            view = memoryview(data)
            while view:
                view = view[stream.write(view[:10_000]) :]

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb") as stream, open_context("-", scratch=str(scratch), stdin=stream) as context:
        assert names(context) == {"Containerfile", "big"}
    thread.join()


def test_a_containerfile_alone(scratch: Path) -> None:
    with open_context("-", scratch=str(scratch), stdin=io.BytesIO(b"FROM a\n")) as context:
        assert context.containerfile == b"FROM a\n"
        assert names(context) == set()
    for wrong, kind in ((b"", InvalidInput), (b"x" * (limits.CONTAINERFILE_SIZE + 1), LimitExceeded)):
        with pytest.raises(kind):
            open_context("-", scratch=str(scratch), stdin=io.BytesIO(wrong))
    with pytest.raises(InvalidInput):
        open_context("-", file="-", scratch=str(scratch))
    assert list(scratch.iterdir()) == []


def test_hostile_contexts(tmp_path: Path, scratch: Path) -> None:
    make(tmp_path / "outside", {"secret": "FROM secret", "F": "FROM x"})
    out = str(tmp_path / "outside")
    bad = tar([symlink("x", out), Entry("x/owned", b"1"), Entry("Containerfile", b"FROM a")])
    with pytest.raises(Corrupt):
        open_context("-", scratch=str(scratch), stdin=io.BytesIO(bad))
    for link in (f"{out}/secret", "../outside/secret", "/etc/passwd"):
        folder = make(tmp_path / f"c{len(link)}", {"Containerfile": f"-> {link}"})
        with pytest.raises(NotFound, match="no Containerfile"):
            open_context(str(folder), scratch=str(scratch))
    folder = make(tmp_path / "fifo", {})
    os.mkfifo(folder / "Containerfile")
    with pytest.raises(NotFound):
        open_context(str(folder), scratch=str(scratch))
    with pytest.raises(NotFound):
        open_context(str(tmp_path / "nowhere"), scratch=str(scratch))
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(InvalidInput):
        open_context(str(tmp_path / "text"), scratch=str(scratch))
    assert sorted(os.listdir(out)) == ["F", "secret"]
    assert list(scratch.iterdir()) == []


def test_named_contexts(tmp_path: Path, scratch: Path) -> None:
    folder = make(tmp_path / "n", {"a": "1", "b": "2", ".containerignore": "b"})
    with open_named("extra", str(folder), scratch=str(scratch)) as tree:
        assert tree.find("a") == ("a",)
        with pytest.raises(NotFound, match="the context extra"):
            tree.find("b")


# -- digests -------------------------------------------------------------------------------------------------


def summed(
    folder: Path, text: str = "COPY . /x", *, owners: bool = False, ignore: list[str] | None = None
) -> str:
    with Tree(str(folder), "the context", owners=owners, ignore=Ignore(ignore or [])) as tree:
        return digest.of_sources(instruction(text), tree)


def test_what_a_digest_depends_on(tmp_path: Path) -> None:
    files = {"a": "1", "d/b": "2", "d/l": "-> b"}
    first = make(tmp_path / "one", files)
    second = make(tmp_path / "two", dict(reversed(files.items())))
    os.utime(second / "a", (1, 1))
    wanted = summed(first)
    assert summed(second) == wanted
    os.chown(second / "a", 5, 5)
    assert summed(second) == wanted
    assert summed(second, owners=True) != summed(first, owners=True)

    def relink() -> None:
        (second / "d/l").unlink()
        (second / "d/l").symlink_to("c")

    changes: list[Callable[[], object]] = [
        lambda: (second / "a").write_text("2"),
        lambda: (second / "a").chmod(0o600),
        lambda: (second / "new").mkdir(),
        lambda: (second / "a").rename(second / "c"),
        lambda: (second / "d").chmod(0o700),
        relink,
        lambda: os.setxattr(second / "c", "user.x", b"1"),
    ]
    seen = {wanted}
    for change in changes:
        change()
        found = summed(second)
        assert found not in seen
        seen.add(found)


def test_a_digest_sees_only_what_is_copied(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", {"a": "1", "d/b": "2", "d/c.md": "3"})
    before = (
        summed(folder, "COPY d /x"),
        summed(folder, "COPY --exclude=*.md d /x"),
        summed(folder, ignore=["a", "**/*.md"]),
        summed(folder, "COPY --parents d/b* /x"),
        summed(folder, "COPY <<E /x\nhello\nE"),
    )
    make(folder, {"a": "other", "d/c.md": "other", "new": ""})
    after = (
        summed(folder, "COPY d /x"),
        summed(folder, "COPY --exclude=*.md d /x"),
        summed(folder, ignore=["a", "**/*.md", "new"]),
        summed(folder, "COPY --parents d/b* /x"),
        summed(folder, "COPY <<E /x\nhello!\nE"),
    )
    assert [one == other for one, other in zip(before, after, strict=True)] == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_many_files_and_threads(tmp_path: Path) -> None:
    folder = make(tmp_path / "c", {f"d{n % 7}/f{n}": str(n) for n in range(500)})
    found: list[str] = []
    with Tree(str(folder), "the context", ignore=Ignore(["d3"])) as tree:
        threads = [
            threading.Thread(target=lambda: found.append(digest.of_sources(instruction("COPY . /"), tree)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    with Tree(str(folder), "x") as tree:
        assert digest.of_path(tree, "d1") != digest.of_path(tree, "d2")
        with pytest.raises(NotFound):
            digest.of_path(tree, "absent")
