"""Webhooks: who wants to hear of which events, signed messages, safe addresses, delivery with retries."""
