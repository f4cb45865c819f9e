"""What the Makefile calls: set-up of a machine, the first taste (`up`, `down`), checks, tests, lock files."""
