"""Generation: the prompt book, the sampler, and pictures that say what made them."""
