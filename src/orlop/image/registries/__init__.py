"""Where images of a name come from: containers-registries.conf(5), its drop-ins, short names."""
