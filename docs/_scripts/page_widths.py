"""Does every built page fit? Nothing may be wider than its column unless it scrolls, and shows that it does.

``python docs/_scripts/page_widths.py docs/_build/html`` opens each page in Chromium, at the widths of a laptop and a
phone, light and dark, and lists what does not fit. Without Chromium it says so and ends with 0.

No driver is needed: a page of this script's own loads the others in a frame, whose width is that of the screen for
their style sheets, and posts what it measured.
"""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

WIDTHS = (1280, 390)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 900  # seconds for all pages

HARNESS = r"""<!doctype html><iframe id=frame style="border:0;height:900px"></iframe><script>
const asked = ASKED, frame = document.getElementById("frame");

function complaints() {
  const page = frame.contentDocument, view = frame.contentWindow, found = [];
  const name = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") +
    (e.classList.length ? "." + [...e.classList].join(".") : "") +
    " «" + e.textContent.replace(/\s+/g, " ").trim().slice(0, 40) + "»";
  if (page.documentElement.scrollWidth > view.innerWidth + 1) found.push("the page itself scrolls sideways");
  const column = page.querySelector("article.bd-article");
  if (!column) return found;
  const right = column.getBoundingClientRect().right, left = column.getBoundingClientRect().left;
  for (const element of column.querySelectorAll("*")) {
    const box = element.getBoundingClientRect();
    if (box.width < 1 || box.height < 1 || element.parentElement.closest("[data-wide]") ||
        element.closest(".headerlink, .copybtn, .visually-hidden, svg *")) continue;
    // The nearest ancestor that scrolls or cuts is what the element has to be seen in.
    let around = element.parentElement;
    while (around !== column && view.getComputedStyle(around).overflowX === "visible") around = around.parentElement;
    const style = view.getComputedStyle(around);
    if (["auto", "scroll"].includes(style.overflowX)) {
      if (around.scrollWidth > around.clientWidth + 1 && around.offsetHeight === around.clientHeight &&
          style.scrollbarWidth !== "none" && !around.dataset.told) {
        around.dataset.told = 1;
        found.push("scrolls without a bar: " + name(around));
      }
      // Tables are what the pages are about: on a laptop all columns are seen, but for frames that a notebook shows.
      if (element.matches("table:not(.dataframe)") && view.innerWidth >= WIDE &&
          around.scrollWidth > around.clientWidth + 1)
        found.push("a table cut by " + (around.scrollWidth - around.clientWidth) + " px: " + name(element));
      continue;
    }
    const edge = around === column ? right : around.getBoundingClientRect().right;
    if (box.right > edge + 1 || box.left < left - 1) {
      element.dataset.wide = 1;  // what is in it is not told once more
      found.push("too wide by " + Math.round(Math.max(box.right - edge, left - box.left)) + " px: " + name(element));
    }
  }
  const marks = [...column.querySelectorAll("dt .viewcode-link")];
  for (const mark of marks) {  // "[source]" stands to the right of a signature and must not lie on it
    const m = mark.getBoundingClientRect();
    for (const word of mark.closest("dt").querySelectorAll(".sig-name, .sig-paren, em.sig-param")) {
      for (const w of word.getClientRects())
        if (w.right > m.left + 1 && w.left < m.right - 1 && w.bottom > m.top + 3 && w.top < m.bottom - 3) {
          found.push("lies on another word: " + name(mark)); break;
        }
    }
  }
  return found;
}

async function main() {
  const told = [];
  for (const [path, width, theme] of asked) {
    frame.style.width = width + "px";
    localStorage.setItem("mode", theme); localStorage.setItem("theme", theme);
    await new Promise((loaded) => { frame.onload = loaded; frame.src = path; });
    await frame.contentDocument.fonts.ready;
    for (const line of complaints()) told.push([path, width, theme, line]);
  }
  await fetch("/__told__", {method: "POST", body: JSON.stringify(told)});
}
main().catch((error) => fetch("/__told__", {method: "POST", body: JSON.stringify([["", 0, "", String(error)]])}));
</script>"""


def main(root: Path) -> int:
    """Measure all pages below `root`."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("page widths: no Chromium here, nothing measured")
        return 0
    pages = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.html") if "_static" not in path.parts)
    if not pages:
        raise SystemExit(f"{root} has no pages; build them first (make docs).")
    # Colours do not change widths, so that dark pages are looked at in one of them.
    asked = [[f"/{page}", width, "light"] for page in pages for width in WIDTHS]
    asked += [[f"/{page}", WIDTHS[1], "dark"] for page in pages]
    told = measured(root, browser, asked)
    for path, width, theme, line in told:
        print(f"{path} at {width}, {theme}: {line}")
    print(f"page widths: {len(pages)} pages at {' and '.join(map(str, WIDTHS))} pixels, {len(told)} complaints")
    return 1 if told else 0


def measured(root: Path, browser: str, asked: list[list[Any]]) -> list[list[Any]]:
    """What the browser found, over a server on this machine that ends with the call."""
    done, told = threading.Event(), list[list[Any]]()

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/__all__":
                return super().do_GET()
            body = HARNESS.replace("ASKED", json.dumps(asked)).replace("WIDE", str(WIDTHS[0])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)
            return None

        def do_POST(self) -> None:
            told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            done.set()

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        address = f"http://127.0.0.1:{server.server_port}/__all__"
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000", f"--user-data-dir={profile}"]
        # The port for debugging keeps a headless Chromium open until it is ended.
        command = [browser, *flags, "--remote-debugging-port=0", address]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            if not done.wait(PATIENCE):
                raise SystemExit(f"page widths: {browser} was not done after {PATIENCE} s.")
        finally:
            process.kill()
            process.wait()
            server.shutdown()
    return told


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
