"""What an image is and how it moves: references, manifests, registries, transports, pull.

Contract
--------
- A reference has one canonical form; short names are resolved as containers-registries.conf(5) says.
- Bytes are checked where they enter: every blob against its digest and size while it streams; a manifest
  before it is parsed. What fails the check never reaches a Sink's commit.
- Knows no store. It pulls into a `Sink` (sink.py), a port that `orlop.store` implements.
- Sources (docker://, later oci:, oci-archive:, docker-archive:, dir:) are a port too: `transport.Source`.
- What could be read in two ways (a key twice, keys of two formats, contradicting media types) is refused.
- Credentials go to the registry that they are for and to its token server, never along a redirect.
- reference, digest, config and sink import nothing heavy: `orlop run` reads them each time.
- Follows: OCI image-spec 1.1, OCI distribution-spec 1.1, Docker image manifest v2 schema 2,
  containers-registries.conf(5), containers-auth.json(5), containers-certs.d(5).

The public faces are `orlop.image.pull.pull` (asyncio) and `orlop.image.reference.Reference`.
"""
