"""Where images come from: the Source port (source.py) and docker:// (docker.py), the registries' protocol."""
