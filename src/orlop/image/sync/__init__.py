"""Many images at once between registries, folders (dir:, one folder an image) and layouts (oci:).

Contract
--------
- Everything that is to be copied is listed before the first byte moves; two images of one name are refused.
- What is at the destination with the same digest is not copied again.
- Each image is a copy of its own (image.copy): a failure leaves the destination's earlier image, and with
  `keep_going` the others are still tried.

The public face is `orlop.image.sync.run.Sync`; `orlop.image.sync.listed.read` reads skopeo's YAML lists.
"""
