"""One declaration per stage."""
