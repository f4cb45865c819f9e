"""`orlop image sign`."""

from __future__ import annotations

import argparse

from orlop.cli.context import Context
from orlop.cli.output import emit
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.image.signature.sign import Signed
    from orlop.image.transport.destination import Destination
    from orlop.image.transport.locate import Location
    from orlop.image.transport.source import RawManifest, Source

DESCRIPTION = """With --key as cosign does (cosign.key, or a plain PEM key): the signature goes into the
image's repository, by a tag that every reader knows, or as a referrer. With --gpg-key a simple
signature, which goes to the lookaside of containers-registries.d(5), or into the folder of dir:PATH.
Nothing is sent to a transparency log. IMAGE is a registry's, oci:PATH:REF or dir:PATH."""
EXAMPLES = (
    "orlop image sign --key cosign.key registry.example.org/app:1",
    "orlop image sign --key cosign.key --recursive --annotation build=42 registry.example.org/app:1",
    "orlop image sign --gpg-key ada@example.org registry.example.org/app:1",
)
JSON = """a list of objects: `digest`, `reference` (the name that was signed), `place`."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name at a registry, oci:PATH:REF or dir:PATH")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--key", metavar="FILE", default="", help="a private key, cosign's or PEM")
    which.add_argument("--gpg-key", metavar="KEY", default="", help="of gpg: its fingerprint, or whose it is")
    add("--password-file", metavar="FILE", default="", help="of the key; else COSIGN_PASSWORD, or asked for")
    add("--identity", metavar="REFERENCE", default="", help="the name to sign (default: IMAGE)")
    add("--annotation", "-a", metavar="KEY=VALUE", action="append", default=[], help="put into the signature")
    add("--recursive", "-r", action="store_true", help="also every image of an index")
    add("--attach", choices=("tag", "referrers"), default="tag", help="where a sigstore signature goes")
    add("--certificate", metavar="FILE", default="", help="of the key, shown with the signature")
    add("--certificate-chain", metavar="FILE", default="", help="what leads from it to a root")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.image.sides import options, transports
    from orlop.image.signature import sign
    from orlop.image.transport.locate import parse

    location = parse(arguments.image)
    opening = options(context, arguments)
    reference = _reference(location, arguments.identity)
    put = _simple(arguments, location) if arguments.gpg_key else _sigstore(arguments, location)
    known = transports(context)
    source = known.source(location, opening)
    done: list[Signed] = []
    try:
        wanted = list(sign.manifests(source, recursive=arguments.recursive))
        destination = None if arguments.gpg_key else known.destination(location, opening)
        try:
            for raw in wanted:
                place = put(source, destination, raw, reference)
                done.append(sign.Signed(raw.digest, reference, place))
            if destination is not None and location.transport == "oci":
                destination.put_manifest(wanted[0])
                destination.commit(wanted[0].digest)
        finally:
            if destination is not None:
                destination.close()
    finally:
        source.close()
    if context.json:
        emit(done)
    else:
        print("\n".join(f"{one.digest}  {one.place}" for one in done))
    return 0


def _reference(location: Location, asked: str) -> str:
    from orlop.image.policy.gate import asked_of
    from orlop.image.reference import Reference
    from orlop.kit.errors import InvalidInput, Unsupported

    if location.transport not in ("docker", "oci", "dir"):
        raise Unsupported(
            str(location), "cannot be signed in place", hint="sign it at a registry, oci: or dir:"
        )
    if asked:
        return Reference.parse(asked).canonical
    reference = asked_of(location).reference
    if reference is None:
        raise InvalidInput(str(location), "has no name that could be signed", hint="give it: --identity")
    return reference.canonical


def words_of(arguments: argparse.Namespace) -> dict[str, str]:
    from orlop.kit.errors import InvalidInput

    found = {}
    for text in arguments.annotation:
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise InvalidInput(f"--annotation {text}", "is not KEY=VALUE", hint="write --annotation build=42")
        found[key] = value
    return found


def _sigstore(
    arguments: argparse.Namespace, location: Location
) -> Callable[[Source, Destination | None, RawManifest, str], str]:
    from orlop.cli.image.passwords import password
    from orlop.cli.image.trusted import read
    from orlop.image.signature import keys, private_key, sign
    from orlop.kit.errors import Unsupported

    if location.transport == "dir":
        raise Unsupported(str(location), "holds simple signatures only", hint="use --gpg-key, or oci:")
    data = read(arguments.key)
    secret = password(arguments.password_file) if private_key.is_encrypted(data) else b""
    key = private_key.load(data, secret, arguments.key)
    words = words_of(arguments)
    chain = sign.Chain(
        read(arguments.certificate).decode() if arguments.certificate else "",
        read(arguments.certificate_chain).decode() if arguments.certificate_chain else "",
    )

    def put(source: Source, destination: Destination | None, raw: RawManifest, reference: str) -> str:
        assert destination is not None
        made = sign.attached(raw.digest, reference, lambda text: keys.sign(key, text), words, chain)
        if arguments.attach == "referrers":
            return str(sign.put_referrer(destination, raw, made))
        return sign.put_by_tag(source, destination, raw.digest, made)

    return put


def _simple(
    arguments: argparse.Namespace, location: Location
) -> Callable[[Source, Destination | None, RawManifest, str], str]:
    from orlop.cli.image.passwords import password
    from orlop.image.signature import gpg, lookaside, payload
    from orlop.kit.errors import Unsupported

    if location.transport == "oci":
        raise Unsupported(str(location), "holds no simple signatures", hint="use --key, or dir:")
    secret = password(arguments.password_file) if arguments.password_file else b""
    words = words_of(arguments)

    def put(source: Source, destination: Destination | None, raw: RawManifest, reference: str) -> str:
        from orlop.image.policy.gate import asked_of
        from orlop.image.signature import folder

        text = payload.make(raw.digest, reference, payload.ATOMIC, {"creator": "orlop", **words})
        message = gpg.sign(text, arguments.gpg_key, secret)
        if location.transport == "dir":
            return folder.add(location.path, raw.digest, (message,))
        name = asked_of(location).reference
        assert name is not None
        return lookaside.write(lookaside.load().of(name), name, raw.digest, (message,))

    return put
