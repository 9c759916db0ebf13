-- Daily partitions. They are made ahead by whoever writes; what finds none lies in the default partition, which
-- an alert watches.

-- One partition of one table, [first, first + 1 day), UTC. Rows that lie in the default partition move in; it is
-- locked first, so that no other comes after the look. The new one is filled before it is attached: an insert
-- through the parent is what Citus refuses here, and attaching does not lock out who reads the parent. Its row
-- security comes last, because Citus copies what is in it.
create function argus.make_partition(parent regclass, first date) returns boolean
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    base  constant text := (select relname from pg_class where oid = parent);
    child constant text := base || '_' || to_char(first, 'YYYYMMDD');
    col   constant text := case base when 'sample_day' then 'day' else 'taken_at' end;
    zone  constant text := case base when 'sample_day' then '' else ' 00:00:00+00' end;
    low   constant text := quote_literal(to_char(first, 'YYYY-MM-DD') || zone);
    high  constant text := quote_literal(to_char(first + 1, 'YYYY-MM-DD') || zone);
    stray constant text := format('from argus.%I where %I >= %s and %I < %s', base || '_default', col, low, col, high);
    found_stray boolean;
begin
    if to_regclass('argus.' || child) is not null then
        return false;
    end if;
    execute format('create table argus.%I (like argus.%I including all)', child, base);
    execute format('lock table argus.%I in access exclusive mode', base || '_default');
    execute 'select true ' || stray || ' limit 1' into found_stray;
    if found_stray then
        execute format('insert into argus.%I select * ', child) || stray;
        execute 'delete ' || stray;
    end if;
    execute format('alter table argus.%I attach partition argus.%I for values from (%s) to (%s)', base, child, low, high);
    perform argus.protect(('argus.' || child)::regclass, '{}', false);
    return true;
end
$$;
revoke execute on function argus.make_partition from public;

-- The partitions for samples and snapshots of some days; how many are new. Simultaneous callers wait, if there is
-- anything to do.
create function argus.ensure_partitions(first date, days integer) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    made integer := 0;
    day  date;
begin
    if days not between 1 and 31 then
        raise exception 'days must be from 1 to 31, not %', days;
    end if;
    if not exists (select from generate_series(0, days - 1) i, unnest('{snapshot,sample}'::text[]) base
                   where to_regclass('argus.' || base || to_char(first + i, '_YYYYMMDD')) is null) then
        return 0;
    end if;
    perform pg_advisory_xact_lock(hashtext('argus.partitions'));
    foreach day in array array(select first + i from generate_series(0, days - 1) i) loop
        made := made + argus.make_partition('argus.snapshot', day)::integer
                     + argus.make_partition('argus.sample', day)::integer;
    end loop;
    return made;
end
$$;
revoke execute on function argus.ensure_partitions from public;
grant execute on function argus.ensure_partitions to argus_collector;

-- How many rows found no partition of their own; counting stops at 1,000.
create function argus.default_partition_rows() returns integer
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select count(*)::integer from (
        (select 1 from argus.sample_default limit 1000) union all
        (select 1 from argus.snapshot_default limit 1000) union all
        (select 1 from argus.sample_day_default limit 1000)) strays
$$;
revoke execute on function argus.default_partition_rows from public;
grant execute on function argus.default_partition_rows to argus_collector;
