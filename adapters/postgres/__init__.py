"""PostgreSQL for the hot paths: binary parameters, pipelined connections, wake-ups."""
