"""The commands, by what they are for; each module registers its own and imports what is heavy inside them."""
