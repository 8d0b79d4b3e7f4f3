"""Speed, memory, hostile files and killed runs."""
