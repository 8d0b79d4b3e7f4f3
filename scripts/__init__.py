"""Training of the embedded models, evaluations and benchmarks; run from the root of a checkout."""
