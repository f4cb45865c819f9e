"""The soak: pods from many clients while the daemon is killed. See test_soak.py."""
