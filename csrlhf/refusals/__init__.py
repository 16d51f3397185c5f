"""Who finds refusals: words in thirteen languages, or a judge trained on answers that people read."""
