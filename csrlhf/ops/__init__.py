"""Pure functions on tensors: no framework, no state, no logger."""
