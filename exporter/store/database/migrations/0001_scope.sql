-- Scope: row-level security, with the same rules for every table.
--
-- A transaction names the rows that it may see: SET LOCAL app.org_id = 7 and SET LOCAL app.clearance = 2. Without
-- these settings it sees no rows: a setting that was never set reads NULL, and '' after the transaction that set it;
-- the policies turn both into NULL, which equals no org_id.
--
-- The policies use only what Citus distributes correctly: one permissive policy per table, verb and role (Citus
-- creates restrictive policies as permissive ones on the shards), plain current_setting() and no sub-select.
--
-- Call security definer functions in a transaction of their own: Citus connects to its workers as the current user,
-- and there the rows that another user wrote in the same transaction are not visible
-- (https://github.com/citusdata/citus/issues/3867). Their search path ends with pg_temp, which would otherwise be
-- searched first.

create sequence argus.organisation_number as integer;

create table argus.organisation (
    org_id     integer     not null default nextval('argus.organisation_number') primary key,
    name       text        not null unique check (name <> ''),
    created_at timestamptz not null default now()
);
alter sequence argus.organisation_number owned by argus.organisation.org_id;

-- Enable row security on a table: the owner sees all rows, a collector has `verbs` on the rows of its organisation,
-- a reader sees the rows of its organisation up to its clearance. Partitions are accessible only to the owner,
-- because a query on a partition ignores the policies of its parent.
create function argus.protect(tab regclass, verbs text[], readable boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    organisation constant text := $q$org_id = nullif(current_setting('app.org_id', true), '')::integer$q$;
    cleared      constant text := $q$clearance <= coalesce(nullif(current_setting('app.clearance', true), '')::integer, -1)$q$;
    verb text;
begin
    execute format('alter table %s enable row level security, force row level security', tab);
    execute format('create policy owner on %s for all to argus_owner using (true) with check (true)', tab);
    foreach verb in array verbs loop
        execute format('grant %s on %s to argus_collector', verb, tab);
        execute format('create policy collector_%s on %s for %s to argus_collector %s', verb, tab, verb,
            case verb when 'insert' then format('with check (%s)', organisation)
                      when 'update' then format('using (%1$s) with check (%1$s)', organisation)
                      else format('using (%s)', organisation) end);
    end loop;
    if readable then
        execute format('grant select on %s to argus_reader', tab);
        execute format('create policy reader_select on %s for select to argus_reader using (%s and %s)',
            tab, organisation, cleared);
    end if;
end
$$;
revoke execute on function argus.protect from public;

alter table argus.organisation enable row level security, force row level security;
create policy owner on argus.organisation for all to argus_owner using (true) with check (true);
create policy collector_select on argus.organisation for select to argus_collector
    using (org_id = nullif(current_setting('app.org_id', true), '')::integer);
create policy reader_select on argus.organisation for select to argus_reader
    using (org_id = nullif(current_setting('app.org_id', true), '')::integer);
grant select on argus.organisation to argus_collector, argus_reader;

alter table argus.migration enable row level security, force row level security;
create policy owner on argus.migration for all to argus_owner using (true) with check (true);
create policy collector_select on argus.migration for select to argus_collector using (true);
create policy reader_select on argus.migration for select to argus_reader using (true);
grant select on argus.migration to argus_collector, argus_reader;

-- The number of an organisation, which is created if it is new. A collector cannot list organisations.
create function argus.organisation_id(wanted text) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    found_id integer;
begin
    select org_id into found_id from argus.organisation where name = wanted;
    if found_id is null then
        insert into argus.organisation (name) values (wanted) on conflict (name) do nothing;
        select org_id into strict found_id from argus.organisation where name = wanted;
    end if;
    return found_id;
end
$$;
revoke execute on function argus.organisation_id from public;
grant execute on function argus.organisation_id to argus_collector;
