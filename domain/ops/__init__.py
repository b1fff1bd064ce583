"""Operations: what operators did to the system, and not to anybody's data."""
