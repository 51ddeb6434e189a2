"""Language models: loading, log-probabilities, sampling, endpoints, the bundled one."""
