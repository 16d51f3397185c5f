"""Numbers about predictions: pure functions of arrays, below every module that reports them."""
