"""The toy world: generated dialogues whose harm, helpfulness and false refusals are known exactly."""
