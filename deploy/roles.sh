#!/bin/sh
# Runs once, when the image of PostgreSQL makes its cluster: see docker-compose.yml.
set -eu
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --file /etc/billing/roles.sql
psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
  --set owner="$OWNER_PASSWORD" --set app="$APP_PASSWORD" <<'SQL'
ALTER ROLE billing_owner PASSWORD :'owner';
ALTER ROLE billing PASSWORD :'app';
SQL
