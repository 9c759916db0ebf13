"""`python -m dashboards`: writes what the code says into json/*.json and docs/dashboards.md."""

from dashboards import generated

if __name__ == "__main__":
    for path, text in generated.files().items():
        path.write_text(text)
