"""Kill every command that writes, go on with it, and compare with a run that nobody disturbed."""
