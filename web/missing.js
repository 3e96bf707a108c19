// Says at once what to do about a missing file. Hosts refuse such a graph before it runs (validate_inputs in nodes/), and
// newer front ends then show that a value was refused, but the reason only in a panel.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const OURS = /^(PULSE|FitLatentGaussian$|LoadStyleGAN$)/;

function refusals(response) {
  return Object.values(response?.node_errors ?? {})
    .filter((node) => OURS.test(node.class_type))
    .flatMap((node) => node.errors.map((error) => [node.class_type, error]))
    .filter(([, error]) => error.type === "custom_validation_failed");
}

app.registerExtension({
  name: "ComfyUI-PULSE.missing",
  setup() {
    const queue = api.queuePrompt;
    api.queuePrompt = async function (...given) {
      try {
        return await queue.apply(this, given);
      } catch (failure) {
        for (const [type, error] of refusals(failure.response)) {
          const input = `${error.extra_info?.input_name} - `;
          const summary = LiteGraph.registered_node_types[type]?.title ?? type;
          app.extensionManager.toast.add({ severity: "error", summary, detail: error.details.replace(input, "") });
        }
        throw failure;
      }
    };
  },
});
