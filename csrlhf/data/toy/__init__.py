"""The toy world: generated dialogues whose harm, helpfulness and over-refusal are known exactly."""
