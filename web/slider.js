// Shows the pictures of a run under the comparison slider of PULSE Compare (nodes/slider.py), where the front end has
// such a widget. Only its Vue nodes can draw it; elsewhere the widget is hidden.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { everyNode, showing } from "./graph.js";

const NODE = "PULSECompare";
const VUE_NODES = "Comfy.VueNodes.Enabled";

function sliderOf(node) {
  return node.widgets?.find((widget) => widget.type === "imagecompare");
}

function hasVueNodes() {
  return app.extensionManager.setting.get(VUE_NODES) === true;
}

function showIf(hasVueNodes, node) {
  const widget = node.comfyClass === NODE && sliderOf(node);
  if (!widget) return;
  widget.hidden = !hasVueNodes;
  node.expandToFitContent();
}

function urlsOf(pictures) {
  return (pictures ?? []).map((picture) => api.apiURL(`/view?${new URLSearchParams(picture)}`));
}

function show(node, output) {
  const widget = sliderOf(node);
  if (!widget || !output.a_images) return;
  widget.value = { beforeImages: urlsOf(output.a_images), afterImages: urlsOf(output.b_images) };
  widget.callback?.(widget.value);
}

app.registerExtension({
  name: "ComfyUI-PULSE.slider",
  ...showing((type) => type === NODE, show),
  setup() {
    // some front ends say so before the setting has its new value
    app.ui.settings.addEventListener(`${VUE_NODES}.change`, ({ detail }) => {
      everyNode().forEach((node) => showIf(detail.value === true, node));
    });
  },
  nodeCreated(node) {
    if (node.comfyClass !== NODE || !sliderOf(node)) return;
    showIf(hasVueNodes(), node);
    node.setSize(node.computeSize());
  },
});
