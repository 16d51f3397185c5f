"""Cost losses compared on labelled rows."""
