"""The host's front end in a headless Chromium: opened, used as its users use it, photographed."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Error, Page

SHOTS = Path(__file__).resolve().parents[2] / "out" / "live"
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1600, "height": 1000}
PACK = "ComfyUI-PULSE"
READY_WITHIN = RUNS_WITHIN = 120_000  # milliseconds
NOTICES = "[role=dialog], .p-toast-message, [data-testid=toast], [data-testid=error-overlay]"
READY = "() => window.app?.vueAppReady && app.graph && app.extensionManager?.workflow?.activeWorkflow"
# left, top, right, bottom of a node on the page, in pixels, with its title
BOX = """type => {
    const node = app.graph.nodes.find(node => node.type === type), canvas = app.canvas.canvas.getBoundingClientRect()
    const [x, y, width, height] = node.getBounding()
    const corner = (x, y) => app.canvas.ds.convertOffsetToCanvas([x, y])
    const [left, top] = corner(x, y), [right, bottom] = corner(x + width, y + height)
    return [left + canvas.x, top + canvas.y, right + canvas.x, bottom + canvas.y]
}"""

# which nodes lie on others, which are neither in a group nor out of it, and which groups touch
CLASHES = """() => {
    const named = node => `${node.type} (${node.title})`
    const box = (thing, [x, y, width, height]) => ({ name: named(thing), x, y, right: x + width, bottom: y + height })
    const nodes = app.graph.nodes.map(node => box(node, node.getBounding()))
    const groups = app.graph.groups.map(group => box({ type: "group", title: group.title }, group._bounding))
    const meet = (a, b) => a.x < b.right && b.x < a.right && a.y < b.bottom && b.y < a.bottom
    const touch = (a, b) => a.x <= b.right && b.x <= a.right && a.y <= b.bottom && b.y <= a.bottom
    const inside = (a, b) => a.x >= b.x && a.y >= b.y && a.right <= b.right && a.bottom <= b.bottom
    const all = (things, are) => things.flatMap((a, i) => things.slice(i + 1).filter(b => are(a, b)).map(b => [a, b]))
    const edges = nodes.flatMap(a => groups.filter(b => meet(a, b) && !inside(a, b)).map(b => [a, b]))
    return [...all(nodes, meet), ...edges, ...all(groups, touch)].map(([a, b]) => `${a.name} and ${b.name}`)
}"""

# the texts of Vue nodes that end in an ellipsis for want of room
CUT = """() => [...document.querySelectorAll("[data-node-id] *")]
    .filter(part => getComputedStyle(part).textOverflow === "ellipsis" && part.scrollWidth > part.clientWidth + 1)
    .map(part => part.textContent.trim()).filter(text => text)"""


def executable() -> str | None:
    """The browser: CHROMIUM, or the first of the usual names."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class FrontEnd:
    """A page with the front end.

    errors: what went wrong in it because of the pack, as far as the page says so.
    """

    def __init__(self, page: Page, url: str):
        self.page, self.errors = page, list[str]()
        page.on("console", self._console)
        page.on("pageerror", self._uncaught)
        page.goto(url)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until it has opened its first workflow, which would replace one that is opened before."""
        self.page.wait_for_function(READY, timeout=READY_WITHIN)

    def _console(self, message: ConsoleMessage) -> None:
        where = message.location.get("url", "")
        if message.type == "error" and PACK in where + message.text:
            self.errors.append(f"{message.text} ({where})")

    def _uncaught(self, error: Error) -> None:
        if PACK in f"{error.message}{error.stack}":
            self.errors.append(f"{error.message}\n{error.stack}")

    def open_template(self, name: str) -> None:
        """Through the menu and the template browser."""
        self.page.get_by_alt_text("ComfyUI Logo").first.click()
        self.page.get_by_role("menuitem", name="Browse Templates").click()
        browser = self.page.get_by_role("dialog")
        browser.get_by_text(PACK, exact=True).first.click()
        browser.get_by_role("heading", name=name).click()
        browser.wait_for(state="hidden")

    def open(self, workflow: dict[str, Any]) -> None:
        """As if its file were dropped on the page."""
        self.page.evaluate("workflow => { app.loadGraphData(workflow) }", workflow)
        ids = [node["id"] for node in workflow["nodes"]]
        self.page.wait_for_function("ids => ids.every(id => app.graph.getNodeById(id))", arg=ids)

    def node(self, type_: str, expression: str) -> Any:
        """The value of a JavaScript expression about `node`, the first of its type."""
        find = "node => node.type === type"
        return self.page.evaluate(
            f"type => {{ const node = app.graph.nodes.find({find}); return {expression} }}", type_
        )

    def set(self, type_: str, widget: str, value: Any) -> None:
        """The value of a widget on the first node of a type."""
        self.page.evaluate(
            """([type, name, value]) => {
                const node = app.graph.nodes.find(node => node.type === type)
                node.widgets.find(widget => widget.name === name).value = value
            }""",
            [type_, widget, value],
        )

    def fit(self) -> None:
        """The whole graph in view, with the key for it."""
        self.page.locator("#graph-canvas").focus()
        before = self.page.evaluate("() => app.canvas.ds.scale")
        self.page.keyboard.press(".")
        self.page.wait_for_function("before => app.canvas.ds.scale !== before", arg=before)
        self.page.wait_for_timeout(500)  # it moves there

    def click(self, type_: str) -> None:
        """On the title of the first node of a type."""
        left, top, right, _ = self.page.evaluate(BOX, type_)
        self.page.mouse.click((left + right) / 2, top + 8)

    def run(self) -> None:
        """Presses the button."""
        self.page.get_by_test_id("queue-button").click()

    def told(self) -> str:
        """What dialogs and notices say; empty where there are none."""
        return "\n".join(self.page.locator(NOTICES).all_inner_texts())

    def wait_until_told(self, text: str) -> None:
        """Waits until the page has this text: in a dialog, a notice or a panel, which front ends name differently."""
        self.page.get_by_text(text).first.wait_for()

    @property
    def version(self) -> tuple[int, ...]:
        """Of the front end."""
        return tuple(map(int, self.page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__").split(".")))

    def clashes(self) -> list[str]:
        """What lies on what in the graph, by type and title."""
        return self.page.evaluate(CLASHES)

    def cut(self) -> list[str]:
        """The texts on Vue nodes that have too little room."""
        return self.page.evaluate(CUT)

    def photograph(self, name: str) -> Image.Image:
        """The page as it is seen, kept as out/live/NAME.png."""
        SHOTS.mkdir(parents=True, exist_ok=True)
        picture = Image.open(io.BytesIO(self.page.screenshot(path=SHOTS / f"{name}.png")))
        return picture.convert("RGB")

    def node_in(self, picture: Image.Image, type_: str) -> Image.Image:
        """The part of a photograph that shows the first node of a type."""
        return picture.crop([round(edge) for edge in self.page.evaluate(BOX, type_)])


def colours(picture: Image.Image) -> int:
    """How many; an empty canvas has few."""
    return len(picture.getcolors(picture.width * picture.height))
