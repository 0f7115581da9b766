"""What a model is worth: bounds, evidence, baselines. Nats per row, with standard errors."""
