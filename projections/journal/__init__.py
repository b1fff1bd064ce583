"""Read models of the journal: the entries, their days, their tags."""
