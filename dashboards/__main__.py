"""`python -m dashboards` generates json/*.json and the panels in docs/dashboards.md."""

from dashboards import generated

if __name__ == "__main__":
    for path, text in generated.files().items():
        path.write_text(text)
