#!/bin/bash
# Runs once, on an empty data directory: makes the paired login that aihub reconciles with. No superuser: it creates
# roles and databases and may keep its own statements out of the log. pgvector is no trusted extension, so that login
# could not create it: every new database inherits it from template1. The superuser keeps no password.
set -e
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username postgres --dbname postgres <<'SQL'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\set a `cat /run/secrets/reconcile_a`
\set b `cat /run/secrets/reconcile_b`
CREATE ROLE hub_reconcile NOLOGIN CREATEROLE CREATEDB;
CREATE ROLE hub_reconcile_a LOGIN PASSWORD :'a' IN ROLE hub_reconcile;
CREATE ROLE hub_reconcile_b LOGIN PASSWORD :'b' IN ROLE hub_reconcile;
ALTER ROLE hub_reconcile_a SET role TO hub_reconcile;
ALTER ROLE hub_reconcile_b SET role TO hub_reconcile;
GRANT SET ON PARAMETER log_statement, log_min_error_statement, log_min_duration_statement TO hub_reconcile;
ALTER ROLE postgres PASSWORD NULL;
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;
GRANT CONNECT ON DATABASE postgres TO hub_reconcile;
\connect template1
CREATE EXTENSION vector;
SQL
bash /etc/postgresql/superuser.sh
