"""Around the journey: fetching models, looking after the machine, and looking after the person."""
