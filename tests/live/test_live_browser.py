"""The front end that users see. Needs tests/live/requirements.txt and a Chromium (CHROMIUM names it)."""

from __future__ import annotations

import json
import time
import urllib.parse

import pytest
from browser import FLAGS, PACK, SIZE, FrontEnd, colours, executable
from conftest import ROOT

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
SELF_CHECK = ROOT / "workflows" / "02_self_check.json"
# no templates at the start, and text, however small, is drawn; the others are what tests change
USUAL = {
    "Comfy.TutorialCompleted": True,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,
    "Comfy.Locale": "en",
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Node.AlwaysShowAdvancedWidgets": False,
}
DRAWN = 100  # colours; an empty canvas has three
VUE_SINCE = (1, 40)  # before, the renderer with Vue nodes was not offered to users
RENDERERS = {"classic": False, "vue": True}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def chromium():
    driver = pytest.importorskip("playwright.sync_api", reason="pip install -r tests/live/requirements.txt")
    path = executable()
    if path is None:
        pytest.skip("no Chromium: CHROMIUM may name one")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def front_end(chromium, server, client):
    """front_end(settings...) -> the page, with these settings of the user beside the default ones."""
    contexts = []

    def open_(**settings):
        client.post("/settings", USUAL | settings)
        contexts.append(chromium.new_context(viewport=SIZE))
        return FrontEnd(contexts[-1].new_page(), server.url)

    yield open_
    for context in contexts:
        context.close()
    client.post("/settings", USUAL)


def rendered(front_end, renderer):
    """The page in one of RENDERERS."""
    page = front_end(**{"Comfy.VueNodes.Enabled": RENDERERS[renderer]})
    if RENDERERS[renderer] and page.version < VUE_SINCE:
        pytest.skip("this front end has no Vue nodes")
    return page


def quick(page, server):
    """Makes the self-check short, and possible without the default generator."""
    page.set("PULSESearch", "steps", 3)
    if not server.has_default_generator:
        page.set("LoadStyleGAN", "stylegan_file", "tiny.safetensors")
        page.set("BicubicDownsample", "factor", 4)


def summary(page):
    """The text on the search; waits for it."""
    widget = "node.widgets.find(widget => widget.name === 'summary')"
    page.page.wait_for_function(f"() => app.graph.nodes.some(node => node.type === 'PULSESearch' && {widget}?.value)")
    return page.node("PULSESearch", f"{widget}.value")


def last_run(client, earlier):
    """The history of the run that was queued since; waits for its end."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        for prompt, history in client.get_json("/history").items():
            if prompt not in earlier and history["status"]["status_str"] in ("success", "error"):
                return history
        time.sleep(0.2)
    raise AssertionError("nothing was run")


def test_the_self_check_is_opened_from_the_templates_and_run_with_the_button(front_end, client, server):
    page = front_end()
    page.open_template("02_self_check")
    page.page.wait_for_function("() => app.graph.nodes.some(node => node.type === 'PULSESearch')")
    quick(page, server)
    page.fit()
    empty = colours(page.node_in(page.photograph("02_self_check"), "PreviewImage"))
    earlier = client.get_json("/history")
    page.run()
    assert last_run(client, earlier)["status"]["status_str"] == "success"
    shown = "() => app.graph.nodes.filter(node => node.type === 'PreviewImage').every(node => node.imgs?.[0].width)"
    page.page.wait_for_function(shown)
    assert summary(page).startswith("1: L2 ")
    page.page.wait_for_timeout(1500)  # the canvas draws what came
    assert summary(page).startswith("1: L2 "), "it stays"
    picture = page.photograph("02_self_check")
    assert colours(page.node_in(picture, "PULSESearch")) > DRAWN
    assert colours(page.node_in(picture, "PreviewImage")) > 2 * empty > DRAWN
    assert page.told() == ""
    assert page.errors == []


@pytest.mark.parametrize("renderer", RENDERERS)
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_shipped_workflow_opens_with_every_node(path, renderer, front_end, known):
    page, workflow = rendered(front_end, renderer), read(path)
    page.open(workflow)
    page.fit()
    picture = page.photograph(f"{path.stem}_{renderer}")
    ours = {node["type"] for node in workflow["nodes"]} & {
        name for name, info in known.items() if info["python_module"].endswith("ComfyUI-PULSE")
    }
    assert ours
    for type_ in ours:
        assert page.node(type_, "type in LiteGraph.registered_node_types && !node.has_errors")
        assert colours(page.node_in(picture, type_)) > DRAWN
    assert page.clashes() == []
    assert page.cut() == []
    assert page.told() == ""
    assert page.errors == []


def test_a_node_that_nobody_has_is_told(front_end):
    """So that the silence of the test above says something."""
    workflow = read(SELF_CHECK)
    workflow["nodes"][0]["type"] = "NobodysNode"
    page = front_end()
    page.open(workflow)
    page.wait_until_told("NobodysNode")


def test_a_node_that_lies_on_another_is_seen(front_end):
    """The same for its layout."""
    workflow = read(SELF_CHECK)
    first, second, *_ = (node for node in workflow["nodes"] if node["type"].startswith("PULSE"))
    second["pos"] = [first["pos"][0] + 20, first["pos"][1] + 20]
    page = front_end()
    page.open(workflow)
    assert [second["type"] in clash and first["type"] in clash for clash in page.clashes()].count(True) == 1


def test_a_text_that_has_too_little_room_is_seen(front_end):
    """The same for its texts."""
    workflow = read(ROOT / "workflows" / "01_upscale_a_face.json")
    (picture,) = (node for node in workflow["nodes"] if node["type"] == "LoadImage")
    picture["size"][0] = 320
    page = rendered(front_end, "vue")
    page.open(workflow)
    page.fit()
    assert page.cut() == [picture["widgets_values"][0]]


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_slider_is_there_where_it_is_drawn(renderer, front_end, known):
    """Also once the user has changed to the other renderer."""
    if "compare_view" not in known["PULSECompare"]["input"].get("optional", {}):
        pytest.skip("this host has no slider")
    page = rendered(front_end, renderer)
    page.open(read(ROOT / "workflows" / "01_upscale_a_face.json"))
    visible = "node.widgets.some(widget => widget.type === 'imagecompare' && node.isWidgetVisible(widget))"
    for drawn in (RENDERERS[renderer], not RENDERERS[renderer]):
        page.page.evaluate("vue => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', vue)", drawn)
        page.page.wait_for_timeout(500)
        assert page.node("PULSECompare", visible) is drawn


def test_the_help_of_a_node_is_its_page(front_end):
    page, asked, address = front_end(), [], f"/extensions/{PACK}/docs/PULSESearch"
    page.page.on("response", lambda response: asked.append(urllib.parse.urlsplit(response.url).path))
    page.open(read(SELF_CHECK))
    page.fit()
    page.click("PULSESearch")
    page.page.get_by_test_id("info-button").click()
    page.page.get_by_role("heading", name="PULSE Search", level=1).wait_for()
    page.photograph("help")
    page.page.get_by_text("It invents faces of people who do not exist").first.wait_for()
    page.page.get_by_text("Searches the generator for a face that downscales to each").first.wait_for()
    assert [address for address in asked if "/docs/PULSESearch" in address] == [f"{address}/en.md"]


@pytest.mark.parametrize("language", ["ja", "zh-TW"])
def test_readers_of_a_language_without_a_page_get_the_english_help(language, front_end):
    page = front_end(**{"Comfy.Locale": language})
    page.open(read(SELF_CHECK))
    page.fit()
    page.click("PULSESearch")
    page.page.get_by_test_id("info-button").click()
    page.page.get_by_text("Searches the generator for a face that downscales to each").first.wait_for()
    page.photograph(f"help_{language}")


def test_seldom_needed_inputs_are_hidden_until_they_are_asked_for(front_end):
    page = front_end()
    page.open(read(SELF_CHECK))
    visible = "node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name)"
    everyday, height = page.node("PULSESearch", visible), page.node("PULSESearch", "node.computeSize()[1]")
    assert {"seed", "steps", "preset"} <= set(everyday)
    assert not {"loss", "optimizer", "batch_size"} & set(everyday)
    page.node("PULSESearch", "node.toggleAdvanced()")
    assert {"loss", "optimizer", "batch_size", *everyday} <= set(page.node("PULSESearch", visible))
    page.node("PULSESearch", "node.toggleAdvanced()")
    assert page.node("PULSESearch", visible) == everyday
    assert page.node("PULSESearch", "node.computeSize()[1]") == height
    preset = "node.widgets.find(widget => widget.name === 'preset')"
    page.node("PULSESearch", f"{preset}.setValue('custom', {{e: null, node, canvas: app.canvas}})")
    assert {"loss", "optimizer", "batch_size"} <= set(page.node("PULSESearch", visible)), "custom takes them"


def test_advanced_widgets_are_shown_to_those_who_always_want_them(front_end):
    page = front_end(**{"Comfy.Node.AlwaysShowAdvancedWidgets": True})
    page.open(read(SELF_CHECK))
    visible = "node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name)"
    if page.version < VUE_SINCE:
        pytest.skip("this front end has no such setting")
    assert {"loss", "optimizer", "batch_size", "seed"} <= set(page.node("PULSESearch", visible))
    page.page.evaluate("() => app.extensionManager.setting.set('Comfy.Node.AlwaysShowAdvancedWidgets', false)")
    page.page.wait_for_timeout(500)
    assert not {"loss", "optimizer", "batch_size"} & set(page.node("PULSESearch", visible))


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_result_stays_on_a_node_in_a_subgraph_and_comes_back_after_a_reload(renderer, front_end, client, server):
    page = rendered(front_end, renderer)
    page.open(read(SELF_CHECK))
    quick(page, server)
    page.set("PULSESearch", "seed", 100 + list(RENDERERS).index(renderer))  # not cached from another test
    page.page.evaluate(
        """() => {
            const node = app.graph.nodes.find(node => node.type === 'PULSESearch')
            app.canvas.select(node)
            app.graph.convertToSubgraph(app.canvas.selectedItems)
        }"""
    )
    page.page.wait_for_timeout(2000)  # the front end keeps a draft
    find = "app.graph.nodes.find(node => node.subgraph).subgraph.nodes.find(node => node.type === 'PULSESearch')"
    text = f"{find}.widgets.find(widget => widget.name === 'summary').value"
    for _ in range(2):
        earlier = client.get_json("/history")
        page.run()
        assert last_run(client, earlier)["status"]["status_str"] == "success"
        sends_again = client.get_json("/object_info/PULSESearch")["PULSESearch"].get("has_intermediate_output")
        if page.page.evaluate("() => window.reloaded") and not sends_again:
            return
        page.page.wait_for_function(f"() => {text}.startsWith('1: L2 ')")
        page.page.reload()
        page.wait_until_ready()
        page.page.wait_for_function("() => app.graph.nodes.some(node => node.subgraph)")  # from the draft
        assert page.page.evaluate(f"() => {text}") == ""
        page.page.evaluate("() => { window.reloaded = true }")


@pytest.mark.parametrize("renderer", RENDERERS)
def test_results_come_back_with_an_undone_step(renderer, front_end, client, server):
    """Undoing makes all nodes anew."""
    page = rendered(front_end, renderer)
    page.open(read(SELF_CHECK))
    quick(page, server)
    earlier = client.get_json("/history")
    page.run()
    assert last_run(client, earlier)["status"]["status_str"] == "success"
    text, pictures = summary(page), "JSON.stringify(node.widgets.find(({ type }) => type === 'imagecompare')?.value)"
    page.page.wait_for_timeout(500)
    compared = page.node("PULSECompare", pictures)
    page.page.evaluate("() => app.canvas.select(app.graph.nodes.find(node => node.type === 'PULSESearch'))")
    page.page.locator("#graph-canvas").focus()
    page.page.keyboard.press("Delete")
    page.page.wait_for_function("() => !app.graph.nodes.some(node => node.type === 'PULSESearch')")
    page.page.keyboard.press("Control+z")
    assert summary(page) == text
    assert page.node("PULSECompare", pictures) == compared
    assert page.errors == []


def test_a_missing_checkpoint_is_told_on_the_page(front_end):
    page = front_end()
    page.open(read(SELF_CHECK))
    page.set("LoadStyleGAN", "stylegan_file", "gone.safetensors")
    page.run()
    page.wait_until_told("The checkpoint 'gone.safetensors' is not on this machine.")
    page.page.wait_for_timeout(500)  # it fades in
    page.photograph("missing_checkpoint")
    page.wait_until_told("put gone.safetensors into ")
    assert "put gone.safetensors into " in page.told(), "the silence that other tests ask for says something"


def test_titles_are_chinese_where_the_user_reads_chinese(front_end):
    translations = ROOT / "locales" / "zh" / "nodeDefs.json"
    if not translations.is_file():
        pytest.skip("there is no locales/zh")
    page = front_end(**{"Comfy.Locale": "zh"})
    page.open(read(SELF_CHECK))
    page.fit()
    page.photograph("chinese")
    assert page.node("PULSESearch", "node.title") == read(translations)["PULSESearch"]["display_name"]
