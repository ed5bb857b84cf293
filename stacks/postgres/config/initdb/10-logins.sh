#!/bin/bash
# Runs once, on an empty data directory: makes the login that aihub reconciles with. No superuser: it creates roles and
# databases and may keep its own statements out of the log. pgvector is no trusted extension, so that login could not
# create it: every new database inherits it from template1.
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username postgres --dbname postgres <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set password `cat /run/secrets/reconcile_password`
CREATE ROLE hub_reconcile LOGIN CREATEROLE CREATEDB PASSWORD :'password';
ALTER ROLE hub_reconcile SET createrole_self_grant = 'set, inherit';
GRANT SET ON PARAMETER log_statement, log_min_error_statement, log_min_duration_statement TO hub_reconcile;
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO hub_reconcile;
\connect template1
CREATE EXTENSION vector;
SQL
