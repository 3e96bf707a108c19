// What the scripts of this pack share about the graph.
import { app } from "../../scripts/app.js";

// All nodes, also those in subgraphs, which older front ends do not have.
export function everyNode() {
  const root = app.rootGraph ?? app.graph;
  return [root, ...(root.subgraphs?.values() ?? [])].flatMap((graph) => graph.nodes);
}
