"""The node's configuration files."""

from __future__ import annotations

from pathlib import Path

import pytest

from orlop.kit.config import Config
from orlop.kit.errors import InvalidInput, LimitExceeded
from orlop.kit.node import DEFAULT_CONFIG, DEFAULT_ROOT, Node, boot_id
from orlop.kit.value import dataclass


@dataclass(frozen=True)
class Settings:
    text: str = "default"
    number: int = 1
    ratio: float = 0.5
    flag: bool = False
    words: tuple[str, ...] = ()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orlop.toml"


def load(file: Path) -> Config:
    return Config.load(Node(config=str(file)))


def test_without_files_everything_is_default(tmp_path: Path) -> None:
    assert Config({}, {}).section("it", Settings) == Settings()


def test_a_section_is_filled_and_the_rest_stays(file: Path) -> None:
    file.write_text('[it]\ntext = "a"\nratio = 2\nflag = true\nwords = ["x", "y"]\n[other]\nz = 1')
    config = load(file)
    assert config.section("it", Settings) == Settings("a", 1, 2.0, True, ("x", "y"))
    assert config.sections() == ["it", "other"]


def test_drop_ins_come_later_in_the_order_of_their_names(file: Path) -> None:
    file.write_text('[it]\ntext = "main"\nnumber = 7')
    folder = file.with_name("orlop.toml.d")
    folder.mkdir()
    (folder / "20.toml").write_text('[it]\ntext = "twenty"')
    (folder / "10.toml").write_text('[it]\ntext = "ten"\nflag = true')
    (folder / "30.bak").write_text("nonsense")
    config = load(file)
    assert config.section("it", Settings) == Settings("twenty", 7, flag=True)
    assert config.origin["it", "text"].endswith("20.toml") and config.origin["it", "number"] == str(file)
    file.unlink()
    assert load(file).section("it", Settings).text == "twenty"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('[it]\nwordz = "a"', r"\[it\] wordz: no such key"),
        ("[it]\ntext = 1", "not of type str"),
        ("[it]\nnumber = true", "not of type int"),
        ('[it]\nnumber = "1"', "not of type int"),
        ("[it]\nflag = 1", "not of type bool"),
        ('[it]\nratio = "x"', "not of type float"),
        ("[it]\nwords = [1]", "not a list of strings"),
        ('[it]\nwords = "x"', "not a list of strings"),
    ],
)
def test_a_wrong_value_names_the_file_the_key_and_what_was_expected(file: Path, text: str, word: str) -> None:
    file.write_text(text)
    with pytest.raises(InvalidInput, match=word) as caught:
        load(file).section("it", Settings)
    assert str(file) in caught.value.subject


@pytest.mark.parametrize("text", ["[it", "a = 1", "\xff"])
def test_a_malformed_file_is_refused(file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match=r"orlop\.toml"):
        load(file)


def test_a_named_file_has_to_exist_and_the_default_one_need_not(file: Path) -> None:
    with pytest.raises(InvalidInput, match="no such configuration file"):
        load(file)
    Config.load(Node(config=DEFAULT_CONFIG))


def test_a_folder_instead_of_a_file_is_told(file: Path) -> None:
    file.mkdir()
    with pytest.raises(InvalidInput, match="cannot be read"):
        load(file)


def test_a_huge_file_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(LimitExceeded):
        load(file)


def test_nodes_have_identities_of_their_own() -> None:
    assert Node().identity == "orlop" == Node(DEFAULT_ROOT, "/elsewhere").identity
    one, two = Node("/a").identity, Node("/b").identity
    assert one != two and one.startswith("orlop-") and len(one) == 14
    assert Node("/a", "/b").in_root("x", "y") == "/a/x/y" and Node("/a", "/b").in_state("x") == "/b/x"
    assert len(boot_id()) == 36
