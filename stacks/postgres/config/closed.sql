-- Some of what PostgreSQL shows is the whole server's: what one consumer writes there (the name of its application, advisory locks,
-- what it owns) every other one would read. Run in each database, and in template1 for those to come. Settings of roles and
-- comments on databases stay open, since pg_dump reads them: the former are differences of the plan, the latter only owners write.
BEGIN;
REVOKE ALL ON pg_shdepend FROM PUBLIC;
REVOKE ALL ON FUNCTION pg_stat_get_activity(integer), pg_lock_status(), pg_prepared_xact(), pg_notification_queue_usage(),
  pg_stat_get_backend_idset() FROM PUBLIC;
COMMIT;
