"""config.json of a container, as the OCI runtime-spec has it, from a ContainerSpec: one file per concern."""
