"""Benchmarks: the daemon against `wg` and against receiving the raw dump, all in one run."""
