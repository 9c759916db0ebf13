-- Creates a login for Grafana's PostgreSQL data source. It can read the records of one organisation up to one
-- clearance, and nothing else:
--
--   psql -d argus -v login=grafana_example -v organisation=example -v clearance=0 -f grafana-login.sql
--   psql -d argus -c '\password grafana_example'
--
-- Run it as a superuser. Run it again after an upgrade that migrates the schema, and to change the clearance.
--
-- The policies contain the organisation and the clearance as constants. Any user of a data source can send any SQL,
-- including SET app.org_id, so a member of argus_reader could read every organisation.
\set ON_ERROR_STOP on
begin;
set local client_min_messages = warning;

select org_id from argus.organisation where name = :'organisation' \gset
select not exists (select from pg_roles where rolname = :'login') as new \gset
\if :new
create role :"login" login;
\endif
alter role :"login" set default_transaction_read_only = on;
alter role :"login" set statement_timeout = '30s';
grant usage on schema argus to :"login";

create temporary table readable on commit drop as
select c.relname as name, c.relkind = 'v' as is_view,
       exists (select from pg_attribute where attrelid = c.oid and attname = 'clearance') as has_clearance
from pg_class c
where c.relnamespace = 'argus'::regnamespace and has_table_privilege('argus_reader', c.oid, 'select')
      and c.relname <> 'migration';

select format('grant select on argus.%I to %I', name, :'login') from readable \gexec
select format('drop policy if exists %I on argus.%I', :'login', name) from readable where not is_view \gexec
select format('create policy %I on argus.%I for select to %I using (org_id = %s%s)', :'login', name, :'login',
              :'org_id', case when has_clearance then format(' and clearance <= %s', :'clearance'::smallint) end)
from readable where not is_view \gexec

commit;
