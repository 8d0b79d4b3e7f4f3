"""The commands, grouped by use; each module registers its own and imports heavy libraries inside them."""
