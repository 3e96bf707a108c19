// Shows only the everyday widgets of this pack's nodes until "Show Advanced" is chosen in a node's menu, or the
// preset of PULSE Search is "custom", which takes them all. The schemas say which are advanced (nodes/sockets.py).
// The classic canvas of the front end knows how to hide such widgets, but looks neither at the schema nor at the user's
// setting, and leaves gaps.
import { app } from "../../scripts/app.js";
import { everyNode } from "./graph.js";

const OURS = /^(PULSE|FitLatentGaussian$)/;
const NO_HEIGHT = () => [0, -4]; // takes away the space between two widgets, too
const ALWAYS = "Comfy.Node.AlwaysShowAdvancedWidgets"; // newer front ends have it

function isAlwaysShown() {
  return app.extensionManager.setting.get(ALWAYS) === true;
}

function seldomNeeded(node) {
  return OURS.test(node.comfyClass) ? (node.widgets ?? []).filter((widget) => widget.options?.advanced) : [];
}

function hide(node, widget) {
  const own = widget.computeSize;
  widget.advanced = !isAlwaysShown();
  Object.defineProperty(widget, "computeSize", {
    configurable: true,
    get: () => (node.isWidgetVisible(widget) ? own : NO_HEIGHT),
  });
}

function presetOf(node) {
  return node.widgets?.find((widget) => widget.name === "preset");
}

function showIfCustom(node) {
  if (presetOf(node)?.value !== "custom" || node.showAdvanced) return;
  node.showAdvanced = true;
  node.expandToFitContent();
}

// some front ends say so before the setting has its new value
function obeySetting({ detail }) {
  for (const node of everyNode()) {
    const seldom = seldomNeeded(node);
    seldom.forEach((widget) => (widget.advanced = detail.value !== true));
    if (seldom.length) node.expandToFitContent();
  }
  app.canvas.setDirty(true, true);
}

app.registerExtension({
  name: "ComfyUI-PULSE.advanced",
  setup() {
    app.ui.settings.addEventListener(`${ALWAYS}.change`, obeySetting);
  },
  nodeCreated(node) {
    const seldom = seldomNeeded(node);
    if (!seldom.length) return;
    seldom.forEach((widget) => hide(node, widget));
    const preset = presetOf(node);
    if (preset) {
      const before = preset.callback;
      preset.callback = function (...given) {
        const result = before?.apply(this, given);
        showIfCustom(node);
        return result;
      };
    }
    node.setSize(node.computeSize());
  },
  loadedGraphNode(node) {
    if (OURS.test(node.comfyClass)) showIfCustom(node);
    if (isAlwaysShown() && seldomNeeded(node).length) node.expandToFitContent();
  },
});
