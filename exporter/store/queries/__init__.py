"""Queries on the records, one module per query.

Query within `database.connection.scope`, on a reader's connection. Every query names its organisation, and
row-level security limits the rows in any case. Instants are UNIX seconds, rounded to whole milliseconds as
samples are. A range excludes its start and includes its end, so that adjacent ranges count nothing twice.
Days are in UTC. Raw and compacted days give the same rows.
"""
