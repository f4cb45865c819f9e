"""Container Device Interface, 0.1 to 1.1: devices described by their vendors, put into a container's spec.

apply.py puts named devices into a ContainerSpec, registry.py knows which are there, document.py reads one
file. (github.com/cncf-tags/container-device-interface, SPEC.md.)
"""
