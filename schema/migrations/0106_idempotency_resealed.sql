-- migrate:up
-- Answers kept for retries are sealed anew before an earlier master key is discarded.
SET lock_timeout = '5s';
GRANT UPDATE (response) ON idempotency TO mindstream_write;

-- migrate:down
SET lock_timeout = '5s';
REVOKE UPDATE (response) ON idempotency FROM mindstream_write;
