"The explorer and its static twin: a run that still trains, strangers' folders, and the page in a browser without a network."
import asyncio
import json
import re
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

from grok_nb.display.page import page, page_file
from grok_nb.display.report import report
from grok_nb.display.widgets import Live, explore, live
from grok_nb.display.slides import Slides, png, ramps, slides
from grok_nb.files import csv_bytes
from grok_nb.runs.table import results
from grok_nb.errors import GrokError
from grok_nb.tasks.groups import cyclic
from grok_nb.training.fit import fit
from grok_nb.training.config import paper_config

TINY = dict(p=7, train_frac=0.6, d_model=16, d_mlp=32, lr=3e-3, log_every=20, stop_factor=0)
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
                 if (found := shutil.which(name))), None)
in_browser = pytest.mark.skipif(not CHROMIUM, reason="no chromium or google-chrome on this machine")
EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("run") / "run"
    fit(paper_config("add", steps=300, frames=15, **TINY), out=where, quiet=True)
    return where


@pytest.fixture(scope="module")
def hostile(folder, tmp_path_factory):
    "A run folder with markup wherever a stranger can put text."
    where = tmp_path_factory.mktemp("hostile") / EVIL.replace("/", "")[:60]
    shutil.copytree(folder, where)
    (where / "run.json").write_text(json.dumps(dict(status=EVIL, seconds=1.0, environment={EVIL: EVIL})))
    history = pd.read_csv(where / "history.csv.gz")
    (where / "history.csv.gz").write_bytes(csv_bytes(history.assign(**{EVIL: 1.0, "__proto__": 2.0})))
    return where


@pytest.fixture(scope="module")
def large():
    "200 slides of p = 113: pairs become right one after another, and a tenth of the wrong answers change at every slide."
    rng, n, count = np.random.default_rng(0), 113, 200
    table = cyclic(n).numpy()
    train, when = rng.random((n, n)) < 0.3, rng.random((n, n))
    answers = [rng.integers(0, n, (n, n))]
    for i in range(1, count):
        fresh = np.where(rng.random((n, n)) < 0.1, rng.integers(0, n, (n, n)), answers[-1])
        answers.append(np.where(when < i / count, table, fresh))
    steps = np.unique(np.geomspace(1, 1e6, 2 * count).round().astype(int))[-count:]
    names = ["train/acc", "test/acc", "train/loss", "test/loss", *(f"measure/{k}" for k in range(20))]
    history = pd.DataFrame({"step": np.arange(0, 25000, 25)} | {k: rng.random(1000) for k in names})
    return Slides("add p=113, standard, seed 0", "done", steps, history, table, train, np.stack(answers).astype(np.uint8),
                  {f"law {k}": rng.random((count, 2)) for k in range(8)}, rng.random((count, 56)),
                  [f"frequency {k + 1}" for k in range(56)], "frequencies", rng.normal(size=(count, n, 2)), np.arange(n))


def test_a_run_that_still_trains_can_be_opened_and_read_again(tmp_path):
    where, go, stop = tmp_path / "run", threading.Event(), threading.Event()

    def wait(t):
        if t.step == 100:
            go.set()
            stop.wait(60)

    config = paper_config("add", steps=300, frames=15, **TINY)
    job = threading.Thread(target=fit, args=(config, where), kwargs=dict(quiet=True, callbacks=(wait,), save_every=0))
    job.start()
    try:
        assert go.wait(60)
        w = explore(where)
        before = w.slider.options[-1]
        assert "not finished" in w.caption.value and 0 < before[1] and w.picture.value[:4] == b"\x89PNG"
    finally:
        stop.set()
        job.join()
    w.again.click()
    assert w.slider.options[-1] == ("300", w.slider.options[-1][1]) and w.slider.options[-1][1] > before[1]
    assert "(done)" in w.caption.value


def test_nothing_of_ipywidgets_is_overridden(folder):
    for w, base in ((explore(folder), type(explore(folder)).__base__), (live(paper_config("add", steps=10, **TINY)), Live.__base__)):
        assert w.comm is not None, "a front end would not find it"
        assert not {k for k in vars(type(w)) if hasattr(base, k) and not k.startswith("_")}


def test_slider_measure_and_second_run_change_the_pictures(folder):
    w = explore(folder, slides(folder))
    for change, value in ((w.slider, 2), (w.slider, 7), (w.measure, "test/loss")):
        before = w.picture.value
        change.value = value
        assert w.picture.value != before and w.below.value != w.picture.value  # the second run lies over the first
        assert f"Step {w.slider.options[w.slider.value][0]}:" in w.caption.value
        assert w.caption.value == w.caption_below.value.replace(", dotted above", "")
    assert w.below.layout.display is None
    w.other.value = "none"
    assert not w.below.value and not w.caption_below.value and w.below.layout.display == "none"


def test_a_second_run_is_dotted_over_the_first(folder):
    film = slides(folder)
    second = replace(film, history=film.history.assign(**{"test/acc": 0.5}))
    assert png(film, 3) != png(film, 3, other=second) != png(film, 3, other=film)


@in_browser
def test_a_page_of_two_runs(folder, tmp_path):
    async def look():
        async with Browser() as b:
            film = slides(folder)
            second = replace(film, name=EVIL, history=film.history.assign(**{"test/acc": 0.5}))
            await b.open(page(film), tmp_path / "one.html", "#step=0")
            alone = await b.js("document.getElementById('accuracy').toDataURL()")
            await b.open(page(film, other=second), tmp_path / "two.html", "#step=0")
            assert alone != await b.js("document.getElementById('accuracy').toDataURL()")
            assert f"Dotted: {EVIL}" in await b.js("document.getElementById('status').textContent")
            assert await b.js("window.hacked") is None and not b.told("Runtime.exceptionThrown")
    asyncio.run(look())


def test_buttons_show_what_goes_on():
    w = live(paper_config("add", steps=100_000, **TINY))
    able = lambda: [not b.disabled for b in (w.start, w.pause, w.stop)]  # noqa: E731
    assert able() == [True, False, False]
    w.start.click()
    assert able() == [False, True, True] and w.start.description == "Training"
    w.pause.click()
    assert able() == [True, False, True] and w.start.description == "Go on"
    w.stop.click()
    assert able() == [True, False, False] and w.start.description == "Start anew"


def test_strangers_folders_are_data(hostile, tmp_path):
    film = slides(hostile)
    assert EVIL in film.measures()
    w = explore(hostile)
    w.measure.value = EVIL
    assert "<img" not in w.caption.value and "<script" not in w.caption.value
    words = csv_bytes(pd.read_csv(hostile / "history.csv.gz").assign(words=EVIL))
    for name, data in (("run.json", b"[]"), ("run.json", b'{"status": "done", "seconds": "x"}'), ("history.csv.gz", b"no"),
                       ("history.csv.gz", words), ("frames.npz", b"no"), ("config.json", b'{"betas": 5}'), ("config.json", b'{"p": 1e99}')):
        where = tmp_path / f"{name}{len(data)}"
        shutil.copytree(hostile, where)
        (where / name).write_bytes(data)
        with pytest.raises(GrokError): slides(where)


def test_page_of_200_slides_is_under_3_MB(large):
    text = page(large)
    assert len(text) < 3e6 and text.count("<script") == 2
    worst = replace(large, answers=np.random.default_rng(0).integers(0, 113, large.answers.shape).astype(np.uint8))
    assert 2e6 < len(page(worst)) < 3e6


def luminance(colour):
    v = np.array([int(colour[i:i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_text_has_contrast_in_both_themes():
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in page_file("css").split("@media", 2)[:2])
    assert set(light) == set(dark)
    for theme in (light, dark):
        for name in ("text", "soft", "train", "test"): # what words are written in
            low, high = sorted(luminance(theme[o]) for o in (name, "back"))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (name, theme)
    assert ramps().shape == (2, 256, 3)


@pytest.mark.skipif(not shutil.which("node"), reason="no node on this machine")
def test_the_script_is_javascript(tmp_path):
    path = tmp_path / "page.js"
    for text, right in ((page_file("js"), True), (page_file("js").replace("begin();", "begin("), False)):
        path.write_text(text)
        assert (subprocess.run(["node", "--check", path], capture_output=True).returncode == 0) == right


@pytest.mark.parametrize("kind", ["html", "css", "js"])
def test_the_pages_files_are_readable(kind):
    text = page_file(kind)
    lines = text.split("\n")
    assert text.isascii() and not [o for o in lines if len(o) > 120 or o != o.rstrip() or "\t" in o]
    assert not [o for o in lines if (len(o) - len(o.lstrip())) % 2], "indented by two blanks a level"
    if kind == "js":  # one purpose a function
        parts = re.split(r"^(?:async )?function ", text, flags=re.M)[1:]
        assert len(parts) > 20 and max(o.partition("\n}\n")[0].count("\n") for o in parts) <= 27


class Browser:
    "A page in headless Chromium without a network, over its debugging protocol."
    flags = ("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
             "--disable-component-update --disable-sync --remote-debugging-port=0").split()

    async def __aenter__(self):
        self.home, self.count, self.events = tempfile.mkdtemp(), 0, []
        command = [CHROMIUM, *self.flags, f"--user-data-dir={self.home}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            where = Path(self.home) / "DevToolsActivePort"
            async def tabs():
                if not where.exists() or "\n" not in (port := where.read_text()): return None
                got = await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port.split()[0]}/json")
                return [o for o in json.loads(got.body) if o["type"] == "page"]
            tab = (await self.until(tabs))[0]
            self.socket = await websocket_connect(tab["webSocketDebuggerUrl"], max_message_size=1 << 28)
            for o in ("Page", "Network", "Runtime", "Log"): await self.send(f"{o}.enable")
            await self.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *error):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.home, ignore_errors=True)

    async def until(self, ready, seconds=40):
        "What `ready` gives, once it gives something."
        end = time.monotonic() + seconds
        while not (got := await ready()):
            assert time.monotonic() < end, f"timed out; the page said {self.events[-3:]}"
            await asyncio.sleep(0.05)
        return got

    async def send(self, method, **params):
        self.count += 1
        await self.socket.write_message(json.dumps(dict(id=self.count, method=method, params=params)))
        while (message := json.loads(await self.socket.read_message())).get("id") != self.count: self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    async def js(self, code):
        "The value of an expression in the page."
        got = await self.send("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in got, got
        return got["result"].get("value")

    async def open(self, text, path, anchor=""):
        path.write_text(text)
        await self.send("Page.navigate", url=path.as_uri() + anchor)
        await self.until(lambda: self.js("document.body && document.body.dataset.drawn"))

    async def key(self, name, code):
        for kind in ("rawKeyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def told(self, method): return [o["params"] for o in self.events if o["method"] == method]


PICTURES = "[...document.querySelectorAll('canvas')].map(c => c.toDataURL())"
SEEN = ("[document.getElementById('caption').textContent, document.getElementById('step').getAttribute('aria-valuetext'), "
        "document.getElementById('table').getAttribute('aria-label')]")


@in_browser
def test_arrow_keys_move_the_pictures_without_a_network(folder, large, tmp_path):
    async def look():
        async with Browser() as b:
            film = slides(folder)
            await b.open(page(film), tmp_path / "small.html", f"#step={film.steps[4]}")
            await b.js("document.getElementById('step').focus()")
            at, before, said = await b.js("+document.body.dataset.drawn"), await b.js(PICTURES), await b.js(SEEN)
            assert at == 4 and f"Step {film.steps[4]}:" in said[0]
            await b.key("ArrowRight", 39)
            await b.until(lambda: b.js(f"+document.body.dataset.drawn === {at + 1}"))
            after, now = await b.js(PICTURES), await b.js(SEEN)
            assert all(x != y for x, y in zip(said, now)) and f"Step {film.steps[5]}:" in now[0]
            changed = [x != y for x, y in zip(before, after)]
            assert len(changed) == 7 and changed[0] and changed[1] # the table, and the mark on the curves
            await b.key("ArrowLeft", 37)
            await b.until(lambda: b.js(f"+document.body.dataset.drawn === {at}"))
            assert await b.js(PICTURES) == before
            for width in (400, 1280):
                await b.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
                assert await b.js("document.documentElement.scrollWidth <= innerWidth"), width
            light = await b.js("getComputedStyle(document.body).backgroundColor")
            await b.send("Emulation.setEmulatedMedia", features=[dict(name="prefers-color-scheme", value="dark")])
            assert light != await b.js("getComputedStyle(document.body).backgroundColor")

            await b.open(page(large), tmp_path / "large.html")
            moves = "for (let i = 0; i < 200; i += 7) { s.value = i; s.dispatchEvent(new Event('input')); took.push(+document.body.dataset.took); }"
            took = await b.js(f"(() => {{ const s = document.getElementById('step'), took = []; {moves} return took; }})()")
            assert len(took) == 29 and np.median(took) < 50, took
            requests = {o["request"]["url"].split(":")[0] for o in b.told("Network.requestWillBeSent")}
            assert requests == {"file"} and not b.told("Runtime.exceptionThrown") and not b.told("Log.entryAdded")
    asyncio.run(look())


@in_browser
def test_markup_in_a_strangers_run_stays_text(hostile, tmp_path):
    async def look():
        async with Browser() as b:
            film = slides(hostile)
            await b.open(page(replace(film, name=EVIL, parts=[EVIL] * len(film.parts), kind=EVIL)), tmp_path / "page.html")
            await b.js("(m => { for (const o of m.options) { m.value = o.value; m.dispatchEvent(new Event('change')); } })"
                       "(document.getElementById('measure'))")
            assert await b.js("document.getElementById('name').textContent") == EVIL
            assert EVIL in await b.js("document.getElementById('status').textContent")
            assert await b.js("document.images.length + 10*document.scripts.length") == 20 # data and script, no image
            assert await b.js("window.hacked") is None
            # the content policy would stop even markup that got through
            await b.js("document.body.insertAdjacentHTML('beforeend', \"<img src='data:,' onerror='window.hacked=1'>\")")
            await asyncio.sleep(0.3)
            assert await b.js("window.hacked") is None
    asyncio.run(look())


@in_browser
def test_a_run_without_pictures_has_its_curves(tmp_path):
    async def look():
        async with Browser() as b:
            film = slides(fit(paper_config("mnist", steps=40, log_every=20, n_train=50, width=16), quiet=True))
            await b.open(page(film), tmp_path / "page.html")
            shown = await b.js("[...document.querySelectorAll('canvas')].filter(c => c.offsetParent).map(c => c.id)")
            assert shown == ["accuracy", "loss", "against"]
    asyncio.run(look())


@in_browser
def test_a_report_opens_without_a_network(tmp_path):
    async def look():
        async with Browser() as b:
            (tmp_path / "report.html").write_text(report(results("tiny"), EVIL))
            await b.send("Page.navigate", url=(tmp_path / "report.html").as_uri())
            await b.until(lambda: b.js("document.images.length === 2 && [...document.images].every(o => o.complete)"))
            assert await b.js("[...document.images].every(o => o.naturalWidth > 300)")
            assert await b.js("document.querySelector('h1').textContent") == EVIL and await b.js("window.hacked") is None
            light = await b.js("getComputedStyle(document.body).backgroundColor")
            await b.send("Emulation.setEmulatedMedia", features=[dict(name="prefers-color-scheme", value="dark")])
            assert light != await b.js("getComputedStyle(document.body).backgroundColor")
            await b.send("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=False)
            assert await b.js("document.documentElement.scrollWidth <= innerWidth")
            requests = {o["request"]["url"].split(":")[0] for o in b.told("Network.requestWillBeSent")}
            assert requests <= {"file", "data"} and not b.told("Runtime.exceptionThrown") and not b.told("Log.entryAdded")
    asyncio.run(look())
