-- Daily partitions. Collectors create them ahead. Rows without a partition of their own go to the default partition,
-- for which there is an alert.

-- Create the partition of a table for [first, first + 1 day), UTC. Rows of that day move from the default partition
-- into it; the default partition is locked first, so that none arrives after the search for them. The new partition is
-- filled before it is attached, because Citus refuses the insert through the parent here; attaching does not block
-- readers of the parent. Row security is enabled last, because Citus copies the rows when the partition is attached.
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

-- Create the partitions for the samples and snapshots of some days; returns how many are new. Simultaneous callers
-- wait for each other, but only if a partition is missing.
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

-- The number of rows in the default partitions, each counted up to 1,000.
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
