"""Measures how fast snapshots are written to PostgreSQL and queried, and how much disk space they take."""
