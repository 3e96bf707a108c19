// What a node says about its result, as text on the node. It stays after the run, and newer hosts send it again when the
// page was reloaded (has_intermediate_output). The text of the front end itself is removed when a run ends.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NAME = "summary";
const HEIGHT = 52; // two lines; more can be scrolled to
// The nodes whose schemas are made by offers.telling.
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

function show(node, text) {
  const widget = node?.widgets?.find((each) => each.name === NAME);
  if (widget && text !== undefined) widget.value = text;
}

// "3:7" is node 7 of the subgraph that node 3 stands for; some front ends write the subgraph's own id for the 3.
function find(id) {
  const root = app.rootGraph ?? app.graph;
  const [first, ...inner] = String(id).split(":");
  const subgraph = root.subgraphs?.get(first);
  if (subgraph) return subgraph.getNodeById(inner[0]);
  return inner.reduce((node, each) => node?.subgraph?.getNodeById(each), root.getNodeById(first));
}

app.registerExtension({
  name: "ComfyUI-PULSE.summary",
  setup() {
    api.addEventListener("pulse.summary", ({ detail }) => show(find(detail.node), detail.text));
  },
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!TELLING.has(nodeData.name)) return;
    const before = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      before?.apply(this, arguments);
      show(this, output?.text?.join("\n"));
    };
  },
  nodeCreated(node) {
    if (!TELLING.has(node.comfyClass)) return;
    add(node);
    node.setSize(node.computeSize());
  },
  // the outputs of a run that the user opens again, or of a tab that comes back
  onNodeOutputsUpdated(outputs) {
    for (const [id, output] of Object.entries(outputs)) {
      const node = find(id);
      if (TELLING.has(node?.comfyClass)) show(node, output.text?.join("\n"));
    }
  },
});
