"""From a config to a published result: plan, inputs, artifacts, stages."""
