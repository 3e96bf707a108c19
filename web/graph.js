// What the scripts of this pack share about the graph.
import { app } from "../../scripts/app.js";

function rootGraph() {
  return app.rootGraph ?? app.graph; // older front ends have no subgraphs
}

// All nodes, also those in subgraphs.
export function everyNode() {
  const root = rootGraph();
  return [root, ...(root.subgraphs?.values() ?? [])].flatMap((graph) => graph.nodes);
}

// "3:7" is node 7 of the subgraph that node 3 stands for; some front ends write the subgraph's own id for the 3.
export function nodeOf(id) {
  const root = rootGraph();
  const [first, ...inner] = String(id).split(":");
  const subgraph = root.subgraphs?.get(first);
  if (subgraph) return subgraph.getNodeById(inner[0]);
  return inner.reduce((node, each) => node?.subgraph?.getNodeById(each), root.getNodeById(first));
}

// The parts of an extension that call show(node, output) with the results of the nodes whose class isOurs accepts: after
// their work, and when results come back with an opened run, another tab, or an undone step, which makes all nodes anew.
export function showing(isOurs, show) {
  return {
    beforeRegisterNodeDef(nodeType, nodeData) {
      if (!isOurs(nodeData.name)) return;
      const before = nodeType.prototype.onExecuted;
      nodeType.prototype.onExecuted = function (output) {
        before?.apply(this, arguments);
        show(this, output ?? {});
      };
    },
    onNodeOutputsUpdated(outputs) {
      for (const [id, output] of Object.entries(outputs)) {
        const node = nodeOf(id);
        if (node && isOurs(node.comfyClass)) show(node, output ?? {});
      }
    },
  };
}
