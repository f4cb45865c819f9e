"""What operators see of the daemon, and its life cycle: logs, metrics, traces, reload, collection."""
