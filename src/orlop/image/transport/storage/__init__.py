"""containers/storage, the library below podman, buildah and CRI-O: where it is, and what it recorded."""
