"""What pages and API do alike: plain functions that know nothing of requests."""
