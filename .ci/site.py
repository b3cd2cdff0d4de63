"""Build the site from the notebooks: python .ci/site.py [FOLDER], `_docs` if not given.

nbdev stages the notebooks in `_proc`, with an API entry for everything exported. What it cannot know is put right
there: addresses come from settings.ini, pages are called as their notebooks, tutorials get a Colab badge, CITATION.cff
becomes a page. Then Quarto renders, and what its themes would load from the network is taken out. Where there is no Quarto, or with --fallback, smalldocs does, from the same
`_quarto.yml` and with the same themes; its formulas are turned into MathML, so that its pages need no network.
"""
import html
import json
import posixpath
import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from functools import cache
from pathlib import Path

import yaml


def settings(root):
    "What settings.ini says."
    cfg = ConfigParser(delimiters=["="], interpolation=None)
    cfg.read(root / "settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def colab(git_url, name):
    "The address at which Colab opens a notebook of a GitHub repository, or None for any other address."
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", git_url)
    return found and f"https://colab.research.google.com/github/{found[1]}/blob/main/nbs/{name}"


def relink(text, pages, git_url, folder=""):
    "nbdev's addresses as a page in `folder` has them; a link to the source only if it is published; no `__main__`."
    def relative(m):
        return f"]({posixpath.relpath(pages.get(m[1], m[1]), folder or '.')}"

    text = re.sub(r"\]\(/([\w/]+\.html)", relative, text).replace("__main__.", "")
    if git_url:
        return text.replace("](/blob/main/", f"]({git_url.rstrip('/').removesuffix('.git')}/blob/main/")
    return re.sub(r"\[source\]\(/blob/main/[^)]*\)(\{[^}]*\})?", "", text)


def apart(text, names):
    "A section's heading that is called as a function is, with an anchor of its own: `#fit` is the function's."
    def heading(m):
        slug = re.sub(r"[^a-z0-9_.-]", "", m[2].strip("`").lower().replace(" ", "-"))
        return f"{m[0]} {{#about-{slug}}}" if slug in names else m[0]

    return re.sub(r"^(#{2,6}) ([^\n{#]+?)$", heading, text, flags=re.M)


def mend(path, pages, git_url, name=None):
    "A staged notebook, `name` below nbs/, with this site's links, page name and badge, and a function's anchor its own."
    nb, name = json.loads(path.read_text()), name or path.name
    folder = posixpath.dirname(name)
    sources = ["".join(cell["source"]) for cell in nb["cells"]]
    documented = {word.lower() for source in sources for word in re.findall(r"^show_doc\(([\w.]+)", source, re.M)}
    for cell in nb["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "raw":
            own = ["/" + old for old, new in pages.items() if new == name.replace(".ipynb", ".html")]
            source = re.sub(r"^output-file: .*\n", f"aliases: {own}\n" if own else "", source, flags=re.M)
        if cell["cell_type"] != "code":
            text = apart(source, documented) if cell["cell_type"] == "markdown" else source
            cell["source"] = relink(text, pages, git_url, folder)
        else:
            cell["source"] = re.sub(r"^#\| varies: .*\n", "", source, flags=re.M)  # for tests/test_notebooks.py
        for output in cell.get("outputs", []):
            if "text/markdown" in output.get("data", {}):
                said = "".join(output["data"]["text/markdown"])
                output["data"]["text/markdown"] = relink(said, pages, git_url, folder)
    if folder == "tutorials" and (address := colab(git_url, name)):
        badge = dict(cell_type="markdown", id="colab", metadata={}, source=f"[Open in Colab]({address}){{.colab}}")
        nb["cells"].insert(1 + (nb["cells"][0]["cell_type"] != "raw"), badge)
    path.write_text(json.dumps(nb))


def pages_of(root):
    "nbdev's name of each module's page -> ours, which is called as its notebook is."
    found = {}
    for path in sorted((root / "nbs").rglob("*.ipynb")):
        if module := re.search(r"#\|\s*default_exp ([\w.]+)", path.read_text()):
            page = path.relative_to(root / "nbs").with_suffix(".html").as_posix()
            found[module[1].replace(".", "/") + ".html"] = page
    return found


def names(authors):
    return " and ".join(a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in authors)


def citation(text):
    "CITATION.cff as a page: what it says, and as BibTeX."
    cff = yaml.safe_load(text)
    paper = cff["references"][0]
    arxiv = next(o["value"] for o in paper["identifiers"]).removeprefix("arXiv:")
    address = f"\n  url = {{{cff['repository-code']}}}," if "repository-code" in cff else ""
    bibtex = f"""@software{{{cff['title']},
  title = {{{cff['title']}}},
  author = {{{names(cff['authors'])}}},{address}
  version = {{{cff['version']}}}
}}

@article{{arxiv{arxiv.replace('.', '')},
  title = {{{paper['title']}}},
  author = {{{names(paper['authors'])}}},
  year = {{{paper['year']}}},
  journal = {{arXiv:{arxiv}}}
}}"""
    return f"---\ntitle: Cite\n---\n\n{cff['message']}\n\n```bibtex\n{bibtex}\n```\n\n`CITATION.cff`:\n\n```yaml\n{text.strip()}\n```\n"


def stage(root, git_url=None):
    "Everything that a renderer needs, in `_proc`."
    from nbdev import processors, serve
    processors.get_config = cache(processors.get_config)  # it reads its files again for every cell
    meta = settings(root)
    git_url = meta["git_url"] if git_url is None else git_url
    staged = Path(serve.proc_nbs(n_workers=0, force=True))
    pages = pages_of(root)
    for path in staged.rglob("*.ipynb"):
        mend(path, pages, git_url, path.relative_to(staged).as_posix())
    (staged / "cite.qmd").write_text(citation((root / "CITATION.cff").read_text()))
    site = yaml.safe_load((root / "_quarto.yml").read_text())
    site["website"] |= {k: v for k, v in {"site-url": meta["doc_url"], "repo-url": git_url}.items() if v}
    site["project"]["output-dir"] = "_site"
    (staged / "_quarto.yml").unlink()
    (staged / "_quarto.yml").write_text(yaml.safe_dump(site, sort_keys=False))
    return staged


def mathml(page):
    "A page of smalldocs with its formulas as MathML, without the script that would draw them."
    from latex2mathml.converter import convert

    def formula(m):
        return convert(html.unescape(m[2]), display="block" if m[1] == "display" else "inline")

    page = re.sub(r'<span class="math (inline|display)">\\[(\[](.*?)\\[)\]]</span>', formula, page, flags=re.S)
    return re.sub(r'<(link|script)[^>]*katex[^>]*>(</script>)?', "", page)


def own_fonts(out):
    "The themes ask the network for a font of theirs; without that line pages have the reader's own."
    for path in out.rglob("*.css"):
        text = path.read_text()
        pattern = r"""@import ?(url\(["']?https?://[^)]*\)|["']https?://[^"']*["'])[^;]*;"""  # an address may hold a ;
        if (bare := re.sub(pattern, "", text)) != text:
            path.write_text(bare)


def fallback(staged):
    "Render without Quarto."
    from smalldocs import highlight
    from smalldocs.site import build
    highlight.css_class = cache(highlight.css_class)  # of each token of each page, and there are few kinds
    build(staged, quiet=True)
    for page in (staged / "_site").rglob("*.html"):
        page.write_text(mathml(page.read_text()))


def main(*args):
    root = Path.cwd()
    out = Path(next((a for a in args if not a.startswith("-")), "_docs"))
    staged = stage(root)
    if "--fallback" not in args and shutil.which("quarto"):
        subprocess.run(["quarto", "render", staged], check=True)
    else:
        fallback(staged)
    own_fonts(staged / "_site")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(staged / "_site", out)


if __name__ == "__main__":
    main(*sys.argv[1:])
