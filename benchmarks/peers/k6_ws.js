// The works through k6/ws: one virtual user for each connection, since a connect blocks its user.
import ws from "k6/ws";

const { WORK, WORK_URL, WORK_SIZE } = __ENV;
const N = Number(__ENV.WORK_N);
const users = { connects: Number(__ENV.WORK_IN_FLIGHT), burst: 1 }[WORK] || N;

export const options = {
  scenarios: {
    work: {
      executor: WORK === "connects" ? "shared-iterations" : "per-vu-iterations",
      vus: users,
      iterations: WORK === "connects" ? N : 1,
      maxDuration: "10m",
    },
  },
  summaryTrendStats: ["avg", "med", "p(99)", "max"],
};

export default function () {
  let count = 0;
  const answer = ws.connect(WORK_URL, {}, (socket) => {
    if (WORK === "connects" || WORK === "upgrade") {
      socket.on("open", () => socket.close());
    } else if (WORK === "burst") {
      socket.on("open", () => socket.send(`go ${N} ${WORK_SIZE}`));
      socket.on("message", () => {
        if (++count === N) socket.close();
      });
    } else if (WORK === "single") {
      socket.on("message", () => {
        count++;
      });
    }
  });
  if (answer.status !== 101) throw new Error(`not upgraded: ${answer.status}`);
}

export function handleSummary(data) {
  return { stdout: JSON.stringify((data.metrics.ws_connecting || { values: {} }).values) + "\n" };
}
