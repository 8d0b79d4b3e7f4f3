"""Model repositories: finding, downloading, verifying and locking files."""
