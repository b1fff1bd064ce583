"""The event store on PostgreSQL: recorder, mapper, group commit and the library's application."""
