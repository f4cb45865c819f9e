"""The CRI's messages, as protoc makes them (make proto)."""
