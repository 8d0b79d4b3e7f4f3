"""Reading picture files: one list of formats, one decoder, one set of limits for the whole program."""
