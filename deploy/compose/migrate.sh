#!/bin/sh
# The schema, the passwords of the two roles that log in, and what a first start needs. May run again
# at each start: it changes nothing that is right.
set -eu
mindstream migrate
mindstream psql -q -v write="$WRITE_PASSWORD" -v read="$READ_PASSWORD" <<'SQL'
ALTER ROLE mindstream_write PASSWORD :'write';
ALTER ROLE mindstream_read PASSWORD :'read';
SQL
mindstream run setup
