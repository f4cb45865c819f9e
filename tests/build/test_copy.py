"""COPY: where files go, whose they become, and that nothing leads outside."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orlop.kit.errors import InvalidInput, NotFound
from tests.build.trees import Place, make, seen

pytestmark = pytest.mark.host  # owners are changed


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_file_to_a_name_to_a_folder_and_to_the_working_folder(place: Place) -> None:
    make(place.context, {"a": "one"})
    place.run("COPY a /x/y/name")
    place.run("COPY a /folder/")
    place.run("COPY a .", workdir="/work/here")
    place.run("COPY a relative", workdir="/work/here")
    place.run("COPY a /folder")
    found = seen(place.root)
    assert (
        found["x/y/name"] == found["folder/a"] == found["work/here/a"] == found["work/here/relative"] == "one"
    )
    assert sum(value == "one" for value in found.values()) == 4
    assert stat.S_IMODE((place.root / "x/y").stat().st_mode) == 0o755
    assert (place.root / "x/y").stat().st_uid == 0


def test_a_folder_gives_its_content(place: Place) -> None:
    make(place.context, {"src/a": "1", "src/sub/b": "! 750 2", "src/link": "-> sub/b", "src/empty": None})
    (place.context / "src/sub").chmod(0o700)
    (place.context / "src").chmod(0o700)
    place.run("COPY src /new")
    assert seen(place.root) == {
        "new": "/", "new/a": "1", "new/sub": "/", "new/sub/b": "2", "new/link": "-> sub/b", "new/empty": "/",
    }  # fmt: skip
    assert stat.S_IMODE((place.root / "new").stat().st_mode) == 0o755
    assert stat.S_IMODE((place.root / "new/sub").stat().st_mode) == 0o700
    assert stat.S_IMODE((place.root / "new/sub/b").stat().st_mode) == 0o750


def test_folders_are_merged_and_files_replaced(place: Place) -> None:
    make(place.root, {"d/old": "old", "d/a": "old", "d/link": "-> old"})
    make(place.context, {"s/a": "new", "s/link": "a file now"})
    place.run("COPY s /d/")
    assert seen(place.root) == {"d": "/", "d/old": "old", "d/a": "new", "d/link": "a file now"}


def test_wildcards(place: Place) -> None:
    make(place.context, {"a1.txt": "1", "a2.txt": "2", "b.md": "3", "d/x.txt": "4"})
    place.run("COPY a?.txt nothing*.txt d/*.txt /t/")
    assert set(seen(place.root)) == {"t", "t/a1.txt", "t/a2.txt", "t/x.txt"}
    with pytest.raises(NotFound, match=r"z\*"):
        place.run("COPY z* /t/")
    with pytest.raises(NotFound, match="absent"):
        place.run("COPY a1.txt absent /t/")


def test_several_sources_need_a_folder(place: Place) -> None:
    make(place.context, {"a": "1", "b": "2"})
    with pytest.raises(InvalidInput, match="no folder") as caught:
        place.run("COPY a b /t")
    assert "/t/" in caught.value.hint
    assert str(caught.value.subject) == "Containerfile:2"
    (place.root / "t").mkdir()
    place.run("COPY a b /t")
    assert set(seen(place.root)) == {"t", "t/a", "t/b"}


def test_a_file_and_a_folder_do_not_replace_each_other(place: Place) -> None:
    make(place.root, {"d/x": None, "f": "file"})
    make(place.context, {"s/x": "file", "t/f/y": "1"})
    with pytest.raises(InvalidInput, match="is a folder"):
        place.run("COPY s /d/")
    with pytest.raises(InvalidInput, match="is a file"):
        place.run("COPY t /")
    with pytest.raises(InvalidInput):
        place.run("COPY s/x /f/")


def test_owners(place: Place) -> None:
    make(
        place.root,
        {"etc/passwd": "root:x:0:0::/:/bin/sh\napp:x:1001:1002::/:/bin/sh\n", "etc/group": "web:x:1003:\n"},
    )
    make(place.context, {"a": "1", "d/b": "2"})
    os.chown(place.context / "a", 555, 555)
    wanted = {
        "": (0, 0), "--chown=app": (1001, 1002), "--chown=app:web": (1001, 1003), "--chown=7": (7, 7),
        "--chown=7:8": (7, 8), "--chown=:web": (0, 1003), "--chown=app:9": (1001, 9),
    }  # fmt: skip
    for number, (flag, owner) in enumerate(wanted.items()):
        place.run(f"COPY {flag} a /t{number}/a")
        found = (place.root / f"t{number}/a").stat()
        assert (found.st_uid, found.st_gid) == owner, flag
        parent = (place.root / f"t{number}").stat()
        assert (parent.st_uid, parent.st_gid) == owner, flag
    with pytest.raises(InvalidInput, match="nobody"):
        place.run("COPY --chown=nobody a /x")
    with pytest.raises(InvalidInput, match="range"):
        place.run("COPY --chown=4294967296 a /x")
    place.run("COPY a /kept", owners=True)
    assert (place.root / "kept").stat().st_uid == 555


def test_modes(place: Place) -> None:
    make(place.context, {"a": "! 640 1", "d/x": "! 600 2", "d/run": "! 700 3"})
    place.run("COPY --chmod=4755 a /octal")
    place.run("COPY --chmod=u=rwX,go=rX d /d/")
    place.run("COPY --chmod=+x a /plus")
    assert stat.S_IMODE((place.root / "octal").stat().st_mode) == 0o4755
    assert stat.S_IMODE((place.root / "d/x").stat().st_mode) == 0o644
    assert stat.S_IMODE((place.root / "d/run").stat().st_mode) == 0o755
    assert stat.S_IMODE((place.root / "plus").stat().st_mode) == 0o751
    for wrong in ("99999", "8", "u=q", "rwx", ""):
        if wrong:
            with pytest.raises(InvalidInput, match="no mode"):
                place.run(f"COPY --chmod={wrong} a /x")


def test_links_of_the_image_stay_in_the_image(place: Place) -> None:
    out = str(place.outside)
    make(
        place.root,
        {"abs": f"-> {out}", "up": "-> ../../../../../../../../.." + out, "file": f"-> {out}/secret",
         "new": f"-> {out}/made", "lib": "-> usr/lib", "usr/lib/x": "x"},
    )  # fmt: skip
    make(place.context, {"a": "mine", "s/lib/y": "y", "t/abs/z": "z"})
    place.run("COPY a /abs/a")
    place.run("COPY a /up/b")
    place.run("COPY a /file")
    place.run("COPY a /new")
    place.run("COPY a /../../../../../outside/c")
    place.run("COPY s /")
    assert seen(place.outside) == {"secret": "secret"}
    inside = seen(place.root)
    below = out.lstrip("/")
    assert inside[f"{below}/a"] == inside[f"{below}/b"] == inside[f"{below}/secret"] == "mine"
    assert inside[f"{below}/made"] == "mine"
    assert inside["usr/lib/y"] == "y"
    assert inside["lib"] == "-> usr/lib"
    place.run("COPY t /")  # /abs is a link to a folder that is in the image by now
    assert seen(place.root)[f"{below}/z"] == "z"
    assert seen(place.outside) == {"secret": "secret"}


def test_links_of_the_context_stay_in_the_context(place: Place) -> None:
    out = str(place.outside)
    make(
        place.context,
        {"file": f"-> {out}/secret", "folder": f"-> {out}", "up": "-> ../outside/secret", "ok": "-> d/real",
         "d/real": "real", "s/out": f"-> {out}/secret"},
    )  # fmt: skip
    for source in ("file", "folder", "up", "folder/secret", "../outside/secret", f"{out}/secret"):
        with pytest.raises(NotFound):
            place.run(f"COPY {source} /x")
    place.run("COPY ok /ok")
    place.run("COPY s /s")
    assert seen(place.root) == {"ok": "real", "s": "/", "s/out": f"-> {out}/secret"}


def test_links_in_circles_end(place: Place) -> None:
    make(place.root, {"a": "-> b", "b": "-> a"})
    make(place.context, {"x": "-> y", "y": "-> x", "f": "f"})
    with pytest.raises(InvalidInput, match="link to itself"):
        place.run("COPY f /a/f")
    with pytest.raises(InvalidInput, match="link to itself"):
        place.run("COPY x /f")


def test_what_is_ignored_is_not_there(place: Place) -> None:
    make(place.context, {"a": "1", "d/keep": "2", "d/drop": "3", "e/f": "4", "link": "-> d/drop"})
    ignored = ["d", "!d/keep", "e"]
    place.run("COPY . /all/", ignore=ignored)
    assert set(seen(place.root)) == {"all", "all/a", "all/d", "all/d/keep", "all/link"}
    place.run("COPY d /d/", ignore=ignored)
    assert set(seen(place.root / "d")) == {"keep"}
    for source in ("e", "e/f", "d/drop", "link"):
        with pytest.raises(NotFound, match="ignore file"):
            place.run(f"COPY {source} /x/", ignore=ignored)


def test_exclude(place: Place) -> None:
    make(place.context, {"s/a.txt": "1", "s/b.md": "2", "s/n/c.txt": "3", "s/n/keep.txt": "4", "t.txt": "5"})
    place.run("COPY --exclude=**/*.txt s /one/")
    assert set(seen(place.root / "one")) == {"b.md", "n"}
    place.run("COPY --exclude=*.md --exclude=n --exclude=!n/keep.txt s /two/")
    assert set(seen(place.root / "two")) == {"a.txt", "n", "n/keep.txt"}
    place.run("COPY --exclude=t.* t.txt s/b.md /three/")
    assert set(seen(place.root / "three")) == {"b.md"}


def test_parents(place: Place) -> None:
    make(place.context, {"x/a.txt": "1", "x/y/b.txt": "2", "x/y/c.md": "3", "z/a.txt": "4"})
    (place.context / "x/y").chmod(0o700)
    place.run("COPY --parents x/a.txt z/a.txt /one/")
    assert set(seen(place.root / "one")) == {"x", "x/a.txt", "z", "z/a.txt"}
    place.run("COPY --parents ./x/./y/*.txt /two/")
    assert set(seen(place.root / "two")) == {"y", "y/b.txt"}
    assert stat.S_IMODE((place.root / "two/y").stat().st_mode) == 0o700
    place.run("COPY --parents **/*.txt /three/")
    assert set(seen(place.root / "three")) == {"x", "x/a.txt", "x/y", "x/y/b.txt", "z", "z/a.txt"}
    with pytest.raises(NotFound):
        place.run("COPY --parents x/absent /four/")


def test_heredocs(place: Place) -> None:
    place.run('COPY --chmod=755 --chown=5 <<EOF /bin/run\n#!/bin/sh\necho "$HOME"\nEOF')
    place.run("COPY <<a <<-b /d/\none\na\n\ttwo\n\tb")
    found = seen(place.root)
    assert found["bin/run"] == '#!/bin/sh\necho "$HOME"\n'
    assert (found["d/a"], found["d/b"]) == ("one\n", "two\n")
    status = (place.root / "bin/run").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, 5)


def test_times_holes_links_and_attributes(place: Place) -> None:
    make(place.context, {"s/a": "1", "s/sub/old": "2"})
    os.link(place.context / "s/a", place.context / "s/sub/b")
    os.setxattr(place.context / "s/a", "user.note", b"x")
    with open(place.context / "s/hole", "wb") as stream:
        stream.seek(50 << 20)
        stream.write(b"end")
    os.utime(place.context / "s/sub/old", (1000, 1000))
    os.utime(place.context / "s/sub", (2000, 2000))
    written = place.run("COPY s /t/")
    assert (place.root / "t/a").stat().st_ino == (place.root / "t/sub/b").stat().st_ino
    assert os.getxattr(place.root / "t/a", "user.note") == b"x"
    hole = (place.root / "t/hole").stat()
    assert hole.st_size == (50 << 20) + 3
    assert hole.st_blocks * 512 < 1 << 20
    assert written < 1 << 20
    assert (place.root / "t/sub/old").stat().st_mtime == 1000
    assert (place.root / "t/sub").stat().st_mtime == 2000


def test_a_link_to_what_was_replaced_meanwhile(place: Place) -> None:
    make(place.context, {"x/f": "first", "y/f": "second", "z/h": "other"})
    os.link(place.context / "x/f", place.context / "z/g")
    place.run("COPY x y z /d/")
    assert seen(place.root / "d") == {"f": "second", "g": "first", "h": "other"}


def test_the_epoch_clamps_times(place: Place) -> None:
    make(place.context, {"s/new": "1", "s/old": "2", "s/sub/x": "3"})
    os.utime(place.context / "s/old", (1000, 1000))
    place.run("COPY s /t/u/", epoch=5000)
    place.run("COPY <<x /t/x\n1\nx", epoch=5000)
    times = {
        name: (place.root / name).stat().st_mtime
        for name in ("t/u/new", "t/u/old", "t/u/sub", "t/u", "t", "t/x")
    }
    assert times == {"t/u/new": 5000, "t/u/old": 1000, "t/u/sub": 5000, "t/u": 5000, "t": 5000, "t/x": 5000}


def test_what_cannot_be_copied(place: Place) -> None:
    make(place.context, {"s/.wh.x": "1", "d/a": "1"})
    os.mknod(place.context / "d/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with pytest.raises(InvalidInput, match="take files away"):
        place.run("COPY s /t/")
    with pytest.raises(InvalidInput, match="device"):
        place.run("COPY d /t/")
    with pytest.raises(InvalidInput, match="COPY of"):
        place.run("COPY https://example.invalid/x /t/")
    place.run("COPY d /t/", owners=True)
    assert (place.root / "t/null").is_char_device()


def test_a_deep_tree(place: Place) -> None:
    folder = place.context
    for _ in range(400):
        folder = folder / "d"
    os.makedirs(folder)
    (folder / "end").write_text("x")
    place.run("COPY . /t/")
    deep = place.root / "t" / Path(*["d"] * 400) / "end"
    assert deep.read_text() == "x"
