"""Documentation is tested: every `sh` block runs, every link leads somewhere."""
