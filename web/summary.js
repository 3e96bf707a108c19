// What a node says about its result, as text on the node. It stays after the run, and newer hosts send it again when the
// page was reloaded (has_intermediate_output). The text of the front end itself is removed when a run ends.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { nodeOf, showing } from "./graph.js";

const NAME = "summary";
const HEIGHT = 52; // two lines; more can be scrolled to
// The nodes that give a host.summary.
const TELLING = new Set([
  "PULSEAlignFaces",
  "PULSEEstimateDegradation",
  "PULSEInspectStyleGAN",
  "PULSELoadLatent",
  "PULSESaveLatent",
  "PULSESaveStyleGAN",
  "PULSESearch",
  "PULSEUncertainty",
]);

function add(node) {
  const widget = app.widgets.STRING(node, NAME, ["STRING", { multiline: true }], app).widget;
  widget.serialize = widget.options.serialize = false; // neither in the workflow nor in the prompt
  widget.options.read_only = true;
  widget.options.getMinHeight = () => HEIGHT;
  widget.element.readOnly = true;
  widget.element.placeholder = "";
}

function write(node, text) {
  const widget = node?.widgets?.find((each) => each.name === NAME);
  if (widget && text !== undefined) widget.value = text;
}

app.registerExtension({
  name: "ComfyUI-PULSE.summary",
  ...showing((type) => TELLING.has(type), (node, output) => write(node, output.text?.join("\n"))),
  setup() {
    api.addEventListener("pulse.summary", ({ detail }) => write(nodeOf(detail.node), detail.text));
  },
  nodeCreated(node) {
    if (!TELLING.has(node.comfyClass)) return;
    add(node);
    node.setSize(node.computeSize());
  },
});
