"""Jobs: a durable queue of the commands' work, done one at a time per device in processes of their own."""
