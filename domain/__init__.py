"""Pure decisions, one package per context: no I/O, no clock, no random."""
