"""Node Resource Interface: plugins that see and adjust pods and containers (containerd/nri v1alpha1)."""
