-- What aihub's own login, which is no superuser, could not do and must, to put right what somebody with more rights did. Each
-- function takes something away, or gives it back to that login; nobody else may run them, and nobody but the superuser is their owner.
BEGIN;
ALTER ROLE hub_reconcile RESET ALL;
ALTER ROLE hub_reconcile_a RESET ALL;
ALTER ROLE hub_reconcile_b RESET ALL;
ALTER ROLE hub_reconcile_a SET role TO hub_reconcile;
ALTER ROLE hub_reconcile_b SET role TO hub_reconcile;
CREATE SCHEMA IF NOT EXISTS hub;
REVOKE ALL ON SCHEMA hub FROM PUBLIC;
GRANT USAGE ON SCHEMA hub TO hub_reconcile;

-- A membership ends, whoever granted it. Of hub_reconcile's own the right to administer the role is left, which it needs.
CREATE OR REPLACE FUNCTION hub.revoke(of_role text, from_role text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE one record;
BEGIN
  FOR one IN
    SELECT grantor::regrole AS grantor_name, admin_option AND from_role = 'hub_reconcile' AND grantor = 10 AS ours FROM pg_auth_members m
    WHERE m.roleid = (SELECT oid FROM pg_authid WHERE rolname = of_role)
      AND m.member = (SELECT oid FROM pg_authid WHERE rolname = from_role)
  LOOP
    IF one.ours THEN
      EXECUTE format('GRANT %I TO %I WITH ADMIN TRUE, INHERIT FALSE, SET FALSE GRANTED BY %s', of_role, from_role, one.grantor_name);
    ELSE
      EXECUTE format('REVOKE %I FROM %I GRANTED BY %s CASCADE', of_role, from_role, one.grantor_name);
    END IF;
  END LOOP;
END $$;

-- A role can do nothing any more, and nothing is set for it. Of aihub's own, what they need is left; whom a login of theirs acts
-- as it says itself, since no such function may set that.
CREATE OR REPLACE FUNCTION hub.strip(role text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE place text;
BEGIN
  IF (SELECT oid FROM pg_authid WHERE rolname = role) = 10 THEN
    RAISE 'the superuser stays as it is';
  END IF;
  EXECUTE format('ALTER ROLE %I NOSUPERUSER NOREPLICATION NOBYPASSRLS INHERIT', role);
  IF role IN ('hub_reconcile_a', 'hub_reconcile_b') THEN
    FOR place IN SELECT split_part(unnest(setconfig), '=', 1) FROM pg_db_role_setting
                 WHERE setdatabase = 0 AND setrole = (SELECT oid FROM pg_authid WHERE rolname = role) LOOP
      CONTINUE WHEN place = 'role';
      EXECUTE format('ALTER ROLE %I RESET %s', role, place);
    END LOOP;
  ELSE
    EXECUTE format('ALTER ROLE %I RESET ALL', role);
  END IF;
  FOR place IN SELECT datname FROM pg_database d JOIN pg_db_role_setting s ON s.setdatabase = d.oid
               WHERE s.setrole = (SELECT oid FROM pg_authid WHERE rolname = role) LOOP
    EXECUTE format('ALTER ROLE %I IN DATABASE %I RESET ALL', role, place);
  END LOOP;
  IF role IN ('hub_reconcile_a', 'hub_reconcile_b') THEN
    EXECUTE format('ALTER ROLE %I LOGIN NOCREATEDB NOCREATEROLE CONNECTION LIMIT -1', role);
  ELSIF role = 'hub_reconcile' THEN
    EXECUTE format('ALTER ROLE %I NOLOGIN CREATEDB CREATEROLE CONNECTION LIMIT -1', role);
  ELSE
    EXECUTE format('ALTER ROLE %I NOLOGIN NOCREATEDB NOCREATEROLE', role);
  END IF;
END $$;

-- A database belongs to aihub, and nothing is set for it, nor said about it to all others.
CREATE OR REPLACE FUNCTION hub.take(name text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF name IN ('postgres', 'template0', 'template1') THEN
    RAISE 'that database is the superuser''s';
  END IF;
  EXECUTE format('ALTER DATABASE %I OWNER TO hub_reconcile', name);
  EXECUTE format('ALTER DATABASE %I RESET ALL', name);
  EXECUTE format('COMMENT ON DATABASE %I IS NULL', name);
END $$;
REVOKE ALL ON FUNCTION hub.revoke(text, text), hub.strip(text), hub.take(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION hub.revoke(text, text), hub.strip(text), hub.take(text) TO hub_reconcile;
COMMIT;
