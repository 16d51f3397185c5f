"""What safe decoding does to a policy."""
