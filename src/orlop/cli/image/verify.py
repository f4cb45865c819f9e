"""`orlop image verify`."""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt

from orlop.cli.context import Context
from orlop.cli.output import emit, printable
from orlop.cli.parser import Parser

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from orlop.image.policy.scopes import Asked
    from orlop.image.signature.model import Verified
    from orlop.image.signature.sigstore import Trust
    from orlop.image.transport.source import RawManifest, Source

DESCRIPTION = """Prints every signature that is good, and whose it is; where none is, the exit code is 5.
--key, and --roots with --certificate-identity, look at sigstore signatures (tag, referrers, bundles),
--gpg-keyring at simple ones, --policy asks a policy.json as a pull would. Keys, roots and the log's key are
files: nothing is fetched but the image's own signatures. A signature must name the image's repository,
and its tag where it names one; --signed-as says another name."""
EXAMPLES = (
    "orlop image verify --key cosign.pub registry.example.org/app:1",
    "orlop image verify --roots ca.pem --certificate-identity ada@example.org registry.example.org/app:1",
    "orlop image verify --gpg-keyring release.gpg dir:app",
    "orlop image verify --policy policy.json registry.example.org/app:1",
)
JSON = """a list of objects: `kind` (simple, sigstore, bundle), `digest`, `reference` (the name that is
signed), `key` (fingerprint), `subject` and `issuer` (of a certificate), `log_index` (-1: none), `time`,
`annotations`."""


def add_arguments(parser: Parser) -> None:
    from orlop.cli.image.sides import add_one_side

    add = parser.add_argument
    add("image", metavar="IMAGE", help="a name at a registry, or TRANSPORT:NAME")
    add("--key", metavar="FILE", action="append", default=[], help="a public key (PEM); again: one of them")
    add("--roots", metavar="FILE", default="", help="certificates of authorities that are trusted")
    add("--intermediates", metavar="FILE", default="", help="certificates between them and the signer's")
    add("--certificate-identity", metavar="NAME", default="", help="e-mail, URI or host of the certificate")
    add("--certificate-oidc-issuer", metavar="URL", default="", help="who vouched for it to Fulcio")
    add("--rekor-key", metavar="FILE", default="", help="the log's public key; its entry is wanted then")
    add("--gpg-keyring", metavar="FILE", default="", help="OpenPGP public keys, exported")
    add("--policy", metavar="FILE", default="", help="a policy.json")
    add("--signed-as", metavar="REFERENCE", default="", help="a repository or a whole name, instead of IMAGE")
    add(
        "--annotation",
        "-a",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="must be in the signature",
    )
    add("--platform", metavar="OS/ARCH[/VARIANT]", help="of an index: its signature or this image's")
    add_one_side(parser)


def run(context: Context, arguments: argparse.Namespace) -> int:
    from orlop.cli.image.sides import options, transports
    from orlop.image.policy.gate import asked_of
    from orlop.image.transport.locate import parse

    ways = [arguments.key, arguments.roots, arguments.gpg_keyring, arguments.policy]
    if sum(map(bool, ways)) != 1:
        from orlop.kit.errors import InvalidInput

        raise InvalidInput(
            "orlop image verify",
            "one of --key, --roots, --gpg-keyring, --policy is wanted",
            hint="say what to believe",
        )
    location = parse(arguments.image)
    source = transports(context).source(location, options(context, arguments))
    try:
        asked = asked_of(location)
        if arguments.policy:
            found = _by_policy(arguments, source, asked)
        else:
            found = _by_trust(arguments, source, asked)
    finally:
        source.close()
    if context.json:
        emit(found)
    else:
        for one in found:
            print(_line(one))
    return 0


def _by_policy(arguments: argparse.Namespace, source: Source, asked: Asked) -> tuple[Verified, ...]:
    from orlop.image.platform import Platform
    from orlop.image.policy.gate import gate

    found = gate(asked, arguments.policy)
    if found is None:
        return ()
    wanted = Platform.parse(arguments.platform) if arguments.platform else Platform.host()
    return found.verify(source, _chain(source, wanted, asked.text))


def _by_trust(arguments: argparse.Namespace, source: Source, asked: Asked) -> tuple[Verified, ...]:
    from orlop.cli.image.sign import words_of
    from orlop.cli.image.trusted import read
    from orlop.image.platform import Platform
    from orlop.image.signature.check import accepting, good
    from orlop.image.signature.collect import Collector, Wanted
    from orlop.image.signature.gpg import Keyring

    wanted = Platform.parse(arguments.platform) if arguments.platform else None
    chain = _chain(source, wanted, asked.text)
    reference = asked.reference if asked.transport == "docker" else None
    simple = bool(arguments.gpg_keyring)
    collector = Collector(source, reference, Wanted(simple=simple, sigstore=not simple))
    signatures = [signature for raw in chain for signature in collector.of(raw.digest)]
    accepts = accepting(reference, arguments.signed_as, words_of(arguments))
    with contextlib.ExitStack() as stack:
        trust: Trust | Keyring
        if simple:
            keys = read(arguments.gpg_keyring)
            trust = stack.enter_context(Keyring((keys,), arguments.gpg_keyring))
        else:
            trust = _trust(arguments)
        return good(signatures, chain, trust, accepts, asked.text, collector.passed)


def _trust(arguments: argparse.Namespace) -> Trust:
    from orlop.cli.image.trusted import read
    from orlop.image.signature import certificate, keys
    from orlop.image.signature.sigstore import Trust
    from orlop.kit.errors import InvalidInput

    logs = keys.public_keys(read(arguments.rekor_key), arguments.rekor_key) if arguments.rekor_key else ()
    if arguments.key:
        return Trust(
            keys=tuple(k for path in arguments.key for k in keys.public_keys(read(path), path)), logs=logs
        )
    if not arguments.certificate_identity:
        raise InvalidInput(
            "--roots", "whom the certificate shall speak of is not said", hint="give --certificate-identity"
        )
    between = arguments.intermediates
    return Trust(
        roots=certificate.certificates(read(arguments.roots), arguments.roots),
        intermediates=certificate.certificates(read(between), between) if between else (),
        subject=arguments.certificate_identity,
        issuer=arguments.certificate_oidc_issuer,
        logs=logs,
        now=not logs,
    )


def _chain(source: Source, platform: object, subject: str) -> Sequence[RawManifest]:
    """What the name leads to, and with a platform what an index has for it."""
    from orlop.image.manifest import Index, parse
    from orlop.image.platform import Platform, choices
    from orlop.kit import limits

    found = [source.manifest()]
    if not isinstance(platform, Platform):
        return found
    for _ in range(limits.INDEX_DEPTH):
        parsed = parse(found[-1].data, found[-1].media_type, subject)
        if not isinstance(parsed, Index):
            break
        found.append(source.manifest(choices(parsed, platform, subject)[0].digest))
    return found


def _line(one: Verified) -> str:
    whose = f"{one.subject} ({one.issuer})" if one.issuer else one.subject
    parts = [
        one.digest,
        f"signed as {one.reference}" if one.reference else "signed",
        f"by {whose or one.key}",
    ]
    if one.time:
        parts.append(f"at {dt.datetime.fromtimestamp(one.time, dt.UTC):%Y-%m-%d %H:%M:%S} UTC")
    if one.log_index >= 0:
        parts.append(f"log entry {one.log_index}")
    return printable(", ".join(parts))
