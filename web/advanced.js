// Shows only the everyday widgets of this pack's nodes until "Show Advanced" is chosen in a node's menu, or the
// preset of PULSE Search is "custom", which takes them all. The schemas say which are advanced (nodes/sockets.py).
// The canvas of the front end knows how to hide such widgets, but neither looks at the schema nor closes the gaps.
import { app } from "../../scripts/app.js";

const OURS = /^(PULSE|FitLatentGaussian$)/;
const NO_HEIGHT = () => [0, -4]; // takes away the space between two widgets, too

function hide(node, widget) {
  const own = widget.computeSize;
  widget.advanced = true;
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

app.registerExtension({
  name: "ComfyUI-PULSE.advanced",
  nodeCreated(node) {
    const seldom = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
    if (!OURS.test(node.comfyClass) || !seldom.length) return;
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
  },
});
