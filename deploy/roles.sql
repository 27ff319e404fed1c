-- The two roles of an installation and what each may do; run once by a superuser (or whoever may
-- make roles that bypass row security), connected to the installation's own, empty database.
--
-- billing_owner owns every table and runs migrations. It bypasses row security, as a backup and the
-- few functions that look across tenants must; no process that serves anybody connects as it.
-- billing is what web, worker, beat and commands connect as. It owns nothing, may not change a
-- table's definition, and sees only the rows of the tenant whose scope it has entered.
--
-- Passwords are set separately: ALTER ROLE … PASSWORD ….
DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing_owner') THEN
    CREATE ROLE billing_owner LOGIN NOSUPERUSER NOCREATEROLE BYPASSRLS;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billing') THEN
    CREATE ROLE billing LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
  END IF;
  EXECUTE format('ALTER DATABASE %I OWNER TO billing_owner', current_database());
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO billing', current_database());
END $$;

-- what the owner makes from now on: no TRUNCATE, no REFERENCES, no TRIGGER
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner
  GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO billing;
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner GRANT USAGE, SELECT ON SEQUENCES TO billing;
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE billing_owner GRANT EXECUTE ON FUNCTIONS TO billing;
GRANT USAGE ON SCHEMA public TO billing;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
