"""How fast snapshots get into PostgreSQL and out of it, and how much room they take."""
