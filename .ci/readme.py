"""Write README.md and nbs/images/ from nbs/index.ipynb: markdown cells as they are, code cells and outputs as directed."""
import base64
import json
import re
from pathlib import Path


def directives(source):
    "The `#| name: value` lines of a cell."
    return dict(m.groups() for m in re.finditer(r"^#\|\s*([\w-]+):?\s*(.*)$", source, re.M))


def linked(text):
    "Links between pages of the site, as links between notebooks."
    return re.sub(r"\]\(([\w/]+)\.html\)", r"](nbs/\1.ipynb)", text)


def render(notebook, images):
    "The notebook as markdown; pictures go to `images`."
    parts = []
    for cell in json.loads(notebook.read_text())["cells"]:
        source = "".join(cell["source"])
        told = directives(source) if cell["cell_type"] == "code" else {}
        if "hide" in told:
            continue
        if cell["cell_type"] == "markdown":
            parts.append(linked(source))
            continue
        if told.get("echo") != "false":
            code = re.sub(r"^#[|].*\n", "", source, flags=re.M)
            parts.append(f"```python\n{code}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                images.mkdir(exist_ok=True)
                name = told.get("label", f"index-{cell['id']}") + ".png"
                (images / name).write_bytes(base64.b64decode("".join(data["image/png"])))
                parts.append(f"![{told.get('fig-alt', '')}](nbs/images/{name})")
            elif text := "".join(output.get("text") or data.get("text/markdown") or data.get("text/plain", [])):
                parts.append(linked(text) if "text/markdown" in data else f"```\n{text.rstrip()}\n```")
    return "\n\n".join(part.strip() for part in parts) + "\n"


if __name__ == "__main__":
    Path("README.md").write_text(render(Path("nbs/index.ipynb"), Path("nbs/images")))
