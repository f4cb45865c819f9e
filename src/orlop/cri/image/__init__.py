"""The ImageService of CRI v1: one file per RPC."""
