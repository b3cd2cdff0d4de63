"""The site, rendered as .ci/site.py does where there is no Quarto: nothing is missing, raw, broken or unreadable."""
import html
import importlib.util
import json
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from fnmatch import fnmatch
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(p.relative_to(ROOT / "nbs").as_posix() for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
SITE = yaml.safe_load((ROOT / "_quarto.yml").read_text())
LIGHT, DARK = "1", "0"  # chromium's preferredColorScheme


def module():
    spec = importlib.util.spec_from_file_location("site_step", ROOT / ".ci" / "site.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    "The folder of the rendered site."
    pytest.importorskip("smalldocs", reason="the fallback renderer, smalldocs, needs Python 3.11")
    copy = tmp_path_factory.mktemp("site_step") / "grok_nb"
    usual = shutil.ignore_patterns(".git", "*.egg-info", "build", "dist", "__pycache__", ".venv", "_proc", "_docs")

    def leave(folder, names):  # runs/ at the top holds sweeps; nbs/runs and grok_nb/runs are rooms of the house
        return usual(folder, names) | ({"runs"} if Path(folder) == ROOT else set())

    shutil.copytree(ROOT, copy, ignore=leave, symlinks=True)
    done = subprocess.run([sys.executable, ".ci/site.py", "--fallback"], cwd=copy, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return copy / "_docs"


class Page(HTMLParser):
    "What a page links to, its anchors, its pictures, and the text that a reader sees outside code."

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.pictures, self.text, self.raw, self.inside = [], set(), [], "", "", []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[k] for k in ("id", "name") if k in attrs}
        self.links += [attrs[k] for k in ("href", "src") if attrs.get(k)]
        if tag == "img":
            self.pictures.append(attrs)
        if tag in ("script", "style", "pre", "code"):
            self.inside.append(tag)

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if "script" not in self.inside and "style" not in self.inside:
            self.raw += data
            self.text += "" if self.inside else data


@cache
def pages(site):
    return {p.relative_to(site).as_posix(): Page(p) for p in site.rglob("*.html")}


def test_every_notebook_is_a_page(site):
    assert {n.replace(".ipynb", ".html") for n in NOTEBOOKS} | {"cite.html"} == set(pages(site))


def plain_words(paragraph):
    "The longest part of a paragraph that holds no markup."
    bare = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)|<[^>]*>", "|", " ".join(paragraph.split()))
    return max(re.findall(r"[A-Za-z ,]*", bare), key=len).strip()


def test_every_paragraph_is_on_its_page(site):  # nbdev drops what stands in the first cell after title and description
    for name in NOTEBOOKS:
        text = " ".join(pages(site)[name.replace(".ipynb", ".html")].text.split())
        for cell in json.loads((ROOT / "nbs" / name).read_text())["cells"]:
            if cell["cell_type"] == "markdown":
                for paragraph in re.sub(r"```.*?```|\$\$.*?\$\$", "", "".join(cell["source"]), flags=re.S).split("\n\n"):
                    assert plain_words(paragraph) in text, f"{name}: not on its page: {paragraph}"


def test_links_and_anchors(site):
    wrong = []
    for name, page in pages(site).items():
        for link in page.links:
            if re.match(r"(https?|mailto|data|javascript):", link):
                continue
            file, _, anchor = unquote(link).partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), file)) if file else name
            if not (site / target).is_file():
                wrong.append((name, link))
            elif anchor and target in pages(site) and anchor not in pages(site)[target].anchors:
                wrong.append((name, link))
    assert not wrong


def test_anchors_of_functions_are_theirs(site):
    for path in site.rglob("*.html"):  # fit-1 is what the function gets when a section has taken fit
        functions = set(re.findall(r'<h3 id="([\w.-]+)"', path.read_text()))
        assert not [o for o in functions if o.endswith("-1") and o[:-2] not in functions], path.name
    assert re.search(r'<h3 id="fit"', (site / "training/05_fit.html").read_text())


def test_fonts_of_the_network_are_taken_out(tmp_path):
    style, rule = tmp_path / "a.css", ":root{--x:1}"
    style.write_text(f"@import url(https://fonts.example/css2?family=Lato:wght@300;400&display=swap);{rule}@import 'b.css';")
    module().own_fonts(tmp_path)
    assert style.read_text() == f"{rule}@import 'b.css';"


def test_a_section_leaves_the_function_its_anchor():
    text = "## fit\n\nWords\n\n## What it must never do\n\n### `fit`\n"
    assert module().apart(text, {"fit"}) == text.replace("## fit", "## fit {#about-fit}").replace("`fit`", "`fit` {#about-fit}")
    assert module().apart(text, {"fi"}) == text


def test_nothing_but_links_needs_the_network(site):
    for path in site.rglob("*.html"):
        assert not re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="https?:[^"]*"', path.read_text()), path.name
    for path in site.rglob("*.css"):
        assert not re.findall(r"@import[^;]*https?:|url\(.?https?:", path.read_text()), path.name


def test_pictures_have_an_alternative_text(site):
    for name in NOTEBOOKS:
        cells = [c for c in json.loads((ROOT / "nbs" / name).read_text())["cells"] if c["cell_type"] == "code"]
        shown = [c for c in cells if not re.search(r"^#\| *(hide|output: false|include: false)", "".join(c["source"]), re.M)]
        data = [o.get("data", {}) for c in shown for o in c["outputs"]]
        drawn = sum(("image/png" in o) + "".join(o.get("text/html", "")).count("<img") for o in data)
        assert len(pages(site)[name.replace(".ipynb", ".html")].pictures) == drawn, name
    lacking = [n for n, p in pages(site).items() for o in p.pictures if not (o.get("alt") or "").strip()]
    assert not lacking, "give the cell a line `#| fig-alt: ...`"


def test_nothing_is_shown_raw(site):
    assert "<math" in (site / "tasks/00_groups.html").read_text()
    for name, page in pages(site).items():
        assert not re.search(r"^#\| ?[a-z-]+(:|$)", page.raw, re.M), name  # a bar of tqdm may hold the two signs
        assert not re.search(r"\$\$|\\[(\[]|\\(frac|sum|mathrm)\b", page.text), name
        assert not re.search(r"^:::", page.text, re.M), name


def test_hidden_cells_and_api_pages(site):
    assert "fastcore.test" not in pages(site)["measures/01_entropy.html"].raw
    entry = pages(site)["measures/01_entropy.html"]
    assert "matrix_entropy" in entry.anchors and "(n, d) features, one row a sample" in entry.raw


def test_search_finds_every_page(site):
    found = {o["href"].split("#")[0] for o in json.loads((site / "search.json").read_text())}
    assert set(pages(site)) <= found
    assert SITE["website"]["search"] is True and "Search" in (site / "index.html").read_text()


def test_sidebar_has_each_notebook_once():
    listed, sections = [], SITE["website"]["sidebar"]["contents"]
    for part in sections:
        if isinstance(part, str):
            listed.append(part)
        elif "section" in part:
            wanted = part["contents"]
            found = wanted if isinstance(wanted, list) else [n for n in NOTEBOOKS if fnmatch(n, wanted)]
            assert found, f"section {part['section']} is empty"
            listed += found
    assert sorted(listed) == NOTEBOOKS
    wings = ["ground", "tasks", "models", "methods", "measures", "training", "runs", "analysis", "claims", "display", "commands"]
    assert [o["section"] for o in sections if "section" in o] == ["Tutorials", "Claims", "Benchmark", "Recipes", *(f"Library: {o}" for o in wings)]
    for o in SITE["website"]["navbar"]["left"]:
        assert o["href"] in [*NOTEBOOKS, "cite.qmd"], o
    assert set(SITE["format"]["html"]["theme"]) == {"light", "dark"}
    assert (ROOT / "nbs" / "_quarto.yml").resolve() == ROOT / "_quarto.yml"


def test_badge_only_where_there_is_an_address(site, tmp_path):
    step = module()
    name = next(n for n in NOTEBOOKS if n.startswith("tutorials/"))
    assert "colab" not in pages(site)[name.replace("ipynb", "html")].raw.lower().replace("# in colab", "")

    def badge(git_url, name):
        copy = tmp_path / "notebook.ipynb"
        shutil.copy(ROOT / "nbs" / name, copy)
        step.mend(copy, {}, git_url, name)
        return re.findall(r"\[Open in Colab\]\((\S+?)\)", copy.read_text())

    assert badge("https://github.com/someone/grok_nb", name) == [
        f"https://colab.research.google.com/github/someone/grok_nb/blob/main/nbs/{name}"]
    assert badge("https://github.com/someone/grok_nb.git", name) == badge("https://github.com/someone/grok_nb/", name)
    assert badge("", name) == badge("https://git.example/someone/grok_nb", name) == []
    assert badge("https://github.com/someone/grok_nb", "training/05_fit.ipynb") == []


def test_links_to_the_source_only_where_it_is_published():
    relink, pages = module().relink, {"training/fit.html": "training/05_fit.html"}
    text = '[source](/blob/main/grok_nb/training/fit.py#L5){target="_blank"} [`fit`](/training/fit.html#fit)'
    assert relink(text, pages, "") == " [`fit`](training/05_fit.html#fit)"
    assert relink(text, pages, "", "training") == " [`fit`](05_fit.html#fit)"
    assert relink(text, pages, "", "claims") == " [`fit`](../training/05_fit.html#fit)"
    assert "(https://h.example/o/r/blob/main/grok_nb/training/fit.py#L5)" in relink(text, {}, "https://h.example/o/r.git")


def test_citation(site):
    said = pages(site)["cite.html"].raw
    assert "@software{grok_nb" in said and "arXiv:2311.06597" in said and "cff-version: 1.2.0" in said


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a, b):
    "WCAG 2: 1 to 21."
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [":root", ".quarto-dark"])
def test_contrast_of_our_colours(scheme):
    assert round(contrast("#000000", "#ffffff"), 2) == 21 and round(contrast("#777777", "#ffffff"), 2) == 4.48
    rules = re.search(re.escape(scheme) + r" \{(.*?)\}", (ROOT / "nbs" / "styles.css").read_text())[1]
    colour = dict(re.findall(r"--grok-([\w-]+): (#\w{6})", rules))
    for text, ground in (("link", "page"), ("quiet", "page"), ("bar-text", "bar"), ("comment", "code"), ("link", "code"),
                         ("text", "page"), ("text", "mark"), ("quiet", "code"), ("text", "code")):
        assert contrast(colour[text], colour[ground]) >= 4.5, (text, ground)


MEASURE = """
const colour = s => { const m = s.match(/[\\d.]+/g).map(Number); return m.length < 4 ? [...m, 1] : m; };
const over = (a, b) => [0, 1, 2].map(i => a[i]*a[3] + b[i]*(1-a[3])).concat(1);
const lum = c => [.2126, .7152, .0722].reduce((s, w, i) => {
  const v = c[i]/255; return s + w*(v <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4); }, 0);
const known = new WeakMap(); // an element's ground is asked for by each of its children
function ground(e, view) {
  if (!e) return [255, 255, 255, 1];
  if (!known.has(e)) known.set(e, over(colour(view.getComputedStyle(e).backgroundColor), ground(e.parentElement, view)));
  return known.get(e);
}
function scrolls(e, view) {
  for (; e && e.tagName !== "BODY"; e = e.parentElement) if (/auto|scroll/.test(view.getComputedStyle(e).overflowX)) return true;
  return false;
}
async function measure() {
  const out = {};
  for (const [page, width] of PAGES) {
    const frame = document.createElement("iframe");
    frame.style = `width:${width}px;height:800px;border:0`;
    frame.src = page;
    document.body.append(frame);
    await new Promise(done => frame.onload = done);
    frame.contentDocument.head.insertAdjacentHTML("beforeend", "<style>* { transition: none !important }</style>");
    await new Promise(done => setTimeout(done, 50));
    const doc = frame.contentDocument, view = frame.contentWindow, bad = {};
    const box = width > 1000 && [...doc.querySelectorAll(".smalldocs-search-results")].find(e => e.parentElement.getClientRects().length);
    if (box) {  // as the site's script fills it, one result chosen
      box.innerHTML = ["", " active"].map(o => `<a class="search-result${o}"><div class="search-result-title">Title</div>`
        + `<div class="search-result-section">Section</div><div class="search-result-text">text <mark>found</mark></div></a>`).join("")
        + `<div class="search-none">No results</div>`;
      box.classList.add("show");
    }
    let searched = 0;
    const dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
    const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
    for (let n; n = walk.nextNode();) {
      const e = n.parentElement, style = view.getComputedStyle(e);
      if (!n.data.trim() || !e.getClientRects().length || style.visibility === "hidden") continue;
      searched += Boolean(e.closest(".smalldocs-search-results"));
      const b = ground(e, view), f = over(colour(style.color), b), [x, y] = [lum(f), lum(b)].sort((p, q) => q-p);
      const ratio = (x+.05)/(y+.05), large = parseFloat(style.fontSize) >= 24;
      if (ratio < (large ? 3 : 4.5)) bad[`${e.tagName}.${e.className} ${style.color} on ${b}`] = [Math.round(100*ratio)/100, n.data.trim().slice(0, 30)];
    }
    const edge = doc.documentElement.clientWidth + 1; // scrollWidth would not do: the theme clips what hangs out
    const wide = [...doc.querySelectorAll("main *")].filter(e => e.getBoundingClientRect().right > edge && !scrolls(e.parentElement, view))
      .map(e => `${e.tagName}.${e.className} to ${Math.round(e.getBoundingClientRect().right)}`).slice(0, 5);
    out[`${page} ${width}`] = {dark, wide, bad, searched};
    frame.remove();
  }
  const said = document.createElement("pre");
  said.id = "said"; said.textContent = JSON.stringify(out); document.body.append(said);
}
measure();
"""


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_pages_in_a_browser(site, scheme):
    "In chromium: nothing hangs out of a page 400 px wide, and all text has WCAG's contrast with what is behind it."
    program = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")) if p), None)
    if not program:
        pytest.skip("no chromium here")
    shown = [(p, 400) for p in sorted(pages(site))] + [(p, 1280) for p in ("index.html", "measures/01_entropy.html", "claims/11_information.html")]
    harness = site / "measure.htm"
    harness.write_text(f"<!doctype html><body><script>const PAGES = {json.dumps(shown)};{MEASURE}</script>")
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run([program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--allow-file-access-from-files",
            f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={scheme}", "--virtual-time-budget=120000",
            "--window-size=1300,900", "--dump-dom", harness.as_uri()], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.S)
    assert said, done.stderr[-2000:]
    found = json.loads(html.unescape(said[1]))
    assert set(found) == {f"{p} {width}" for p, width in shown} and all(o["dark"] == (scheme == DARK) for o in found.values())
    assert all(o["searched"] == 9 for k, o in found.items() if k.endswith(" 1280"))  # with the search panel open
    wide = {k: o["wide"] for k, o in found.items() if o["wide"]}
    assert not wide, json.dumps(wide, indent=1)[:6000]
    bad = {k: o["bad"] for k, o in found.items() if o["bad"]}
    assert not bad, json.dumps(bad, indent=1)[:6000]
