"Write what commands can name without loading it, grok_nb/cli/names.json, from the registries: python .ci/names.py"
import json
from pathlib import Path

from grok_nb.cli.settings import registered_names

if __name__ == "__main__":
    path = Path(__file__).parent.parent / "grok_nb" / "cli" / "names.json"
    path.write_text(json.dumps(registered_names(), indent=0, ensure_ascii=False) + "\n", "utf-8")
    print(path, path.stat().st_size, "bytes")
