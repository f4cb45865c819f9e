"""What operators see of the daemon: logs, metrics, traces, configuration, life cycle."""
