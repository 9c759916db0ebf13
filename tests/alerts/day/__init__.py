"""A simulated day of a mesh: its series, its incidents, and the notifications of the shipped files."""
