"""Generation: the prompt book, the sampler, and pictures that carry their generation record."""
