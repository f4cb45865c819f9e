"""Image references, as the `distribution` grammar has them and as Docker's and podman's users write them.

    reference := [registry "/"] repository [":" tag] ["@" digest]

Hand-written instead of by regular expressions: it is on the start-up path of `orlop run`.
"""

from __future__ import annotations

from orlop.image.digest import Digest
from orlop.kit.errors import InvalidInput
from orlop.kit.value import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_LEGACY_REGISTRY = "index.docker.io"
_OFFICIAL = "library/"
_PLACEHOLDER = "registry.invalid"  # stands in for a registry whose name could be taken for a namespace
_REPOSITORY_LENGTH = 255
_TAG_LENGTH = 128
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS = frozenset("0123456789")
_WORD = _LOWER | _DIGITS
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_TAG_FIRST = _LETTERS | _DIGITS | {"_"}
_TAG_REST = _TAG_FIRST | {".", "-"}
_HEX = frozenset("0123456789abcdefABCDEF")
_HINT = "write [registry[:port]/]repository[:tag][@sha256:digest], the repository in lower case"


@dataclass(frozen=True)
class Reference:
    """A whole reference: the registry is always there; a tag ("" for none), a digest (None), or both.

    Build one with `parse`; `with_tag`, `with_digest` and `bare` derive others.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """`text` with the field's defaults: docker.io, library/, and :latest where it has no tag or digest.

        Raises InvalidInput for what the grammar refuses, and for 64 hex digits, which mean an image ID.
        """
        if not text:
            raise InvalidInput("''", "is no image: the name is empty", hint=_HINT)
        if len(text) == 64 and _HEX.issuperset(text):
            raise InvalidInput(text, "is an image ID, not a reference", hint=_HINT)
        registry, rest = split_registry(text)
        named, separator, digest_text = rest.partition("@")
        digest = _digest(digest_text, text) if separator else None
        repository, separator, tag = named.partition(":")
        if separator:
            check_tag(tag, text)
        elif digest is None:
            tag = DEFAULT_TAG
        registry = registry or DEFAULT_REGISTRY
        if registry == _LEGACY_REGISTRY:
            registry = DEFAULT_REGISTRY
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            repository = _OFFICIAL + repository
        check_registry(registry, text)
        check_repository(repository, text)
        return cls(registry, repository, tag, digest)

    @classmethod
    def within(cls, location: str, rest: str) -> Reference:
        """`rest` (repository[:tag][@digest]) below `location` (registry[/namespace]).

        The first part of `location` is a registry even where it has no dot. Raises InvalidInput.
        """
        registry, slash, namespace = location.partition("/")
        if registry in (DEFAULT_REGISTRY, _LEGACY_REGISTRY):
            return cls.parse(f"{location}/{rest}")
        parsed = cls.parse(f"{_PLACEHOLDER}/{namespace}{slash}{rest}")
        check_registry(registry, location)
        return cls(registry, parsed.repository, parsed.tag, parsed.digest)

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """The one spelling under which the image is recorded: nothing implied, nothing left out."""
        return self.name + self._suffix

    @property
    def familiar(self) -> str:
        """The shortest spelling that `parse` reads as this reference but for its tag: `busybox:latest`."""
        return self._familiar_name + self._suffix

    def with_tag(self, tag: str) -> Reference:
        check_tag(tag, tag)
        return Reference(self.registry, self.repository, tag, self.digest)

    def with_digest(self, digest: Digest) -> Reference:
        return Reference(self.registry, self.repository, self.tag, digest)

    def by_digest(self, digest: Digest) -> Reference:
        """The repository at `digest`, without a tag."""
        return Reference(self.registry, self.repository, "", digest)

    def __str__(self) -> str:
        return self.canonical

    @property
    def _suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag

    @property
    def _familiar_name(self) -> str:
        if self.registry != DEFAULT_REGISTRY:
            return self.name
        short = self.repository
        if short.startswith(_OFFICIAL) and "/" not in short[len(_OFFICIAL) :]:
            short = short[len(_OFFICIAL) :]
            return self.name if len(short) == 64 and _HEX.issuperset(short) else short
        # docker.io/localhost/x or docker.io/a.b/x: without its registry it would mean another one
        return self.name if split_registry(short)[0] else short


def split_registry(text: str) -> tuple[str, str]:
    """(registry or "", the rest): the first part is a registry if it has a dot, a colon, an upper-case
    letter, or is `localhost`."""
    first, separator, rest = text.partition("/")
    if separator and ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        return first, rest
    return "", text


def is_short(text: str) -> bool:
    """Whether `text` names no registry, so that registries.conf decides where it comes from."""
    first, separator, _ = text.partition("/")
    return not (separator and ("." in first or ":" in first or first == "localhost"))


def _digest(digest: str, subject: str) -> Digest:
    try:
        return Digest(digest)
    except InvalidInput as error:
        raise InvalidInput(subject[:300], f"{digest[:140]!r} {error.cause}", hint=error.hint) from None


def check_tag(tag: str, subject: str) -> None:
    if not tag or len(tag) > _TAG_LENGTH or tag[0] not in _TAG_FIRST or not _TAG_REST.issuperset(tag):
        raise InvalidInput(
            subject[:300],
            f"{tag[:140]!r} is not a tag",
            hint="a tag has at most 128 letters, digits, _, . and -, and begins with none of the last two",
        )


def check_repository(repository: str, subject: str) -> None:
    """Path components of lower-case letters and digits, joined by one `.`, one or two `_`, or any `-`."""
    if repository.lower() != repository:
        raise InvalidInput(subject[:300], "a repository is written in lower case", hint=_HINT)
    if len(repository) > _REPOSITORY_LENGTH:
        raise InvalidInput(
            subject[:300], f"the repository is longer than {_REPOSITORY_LENGTH} characters", hint=_HINT
        )
    if not all(_is_path_component(part) for part in repository.split("/")):
        raise InvalidInput(subject[:300], f"{repository!r} is not a repository", hint=_HINT)


def _is_path_component(part: str) -> bool:
    if not part or part[0] not in _WORD or part[-1] not in _WORD:
        return False
    separator = ""
    for character in part:
        if character not in _WORD:
            separator += character
        elif separator:
            if separator not in (".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
    return True


def check_registry(registry: str, subject: str) -> None:
    """host[:port]: domain components (letters, digits, inner `-`), or an IPv6 address in brackets."""
    host, port = registry, "0"
    if registry.startswith("["):
        inside, bracket, after = registry[1:].partition("]")
        valid = bool(bracket and inside) and set(inside) <= _HEX | {":"}
        valid = valid and (not after or after.startswith(":"))
        port = after[1:] if after else "0"
    else:
        host, colon, after = registry.partition(":")
        port = after if colon else "0"
        valid = all(_is_domain_component(part) for part in host.split("."))
    if not valid or not port or not _DIGITS.issuperset(port):
        raise InvalidInput(subject[:300], f"{registry[:260]!r} is not a registry", hint=_HINT)


def _is_domain_component(part: str) -> bool:
    letters_digits = _LETTERS | _DIGITS
    return (
        bool(part)
        and part[0] in letters_digits
        and part[-1] in letters_digits
        and (letters_digits | {"-"}).issuperset(part)
    )
