"""Grafana dashboards as code. `python -m dashboards` writes json/*.json and docs/dashboards.md."""
