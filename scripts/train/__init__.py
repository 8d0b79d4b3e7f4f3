"""Training of the embedded models, from rendered pictures to the files that ship."""
