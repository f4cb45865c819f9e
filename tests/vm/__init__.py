"""A machine as users have it: a stock Debian guest, systemd, pure cgroup v2, under QEMU (`make test-vm`)."""
