"""Signatures of images: simple signing (OpenPGP), sigstore as cosign attaches it, sigstore bundles.

Contract
--------
- Nothing here decides what is required (that is `image.policy`): it says who signed which digest under which
  name, or why a signature is worth nothing.
- A signature is bound to a digest that was computed from the manifest's bytes here.
- Signatures, payloads, certificates and log entries are read as hostile: with bounds, strictly, once.
- No network beside the image's own source and the lookaside of registries.d: roots and the log's keys are
  given, never fetched.
- Follows: containers-signature(5), containers-registries.d(5), cosign's SIGNATURE_SPEC.md, sigstore's
  bundle format 0.3, RFC 6962 (Merkle proofs), DSSE 1.0, in-toto Statement 1.
"""
