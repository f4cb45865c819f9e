"""The messages of NRI, as protoc makes them (make proto)."""
