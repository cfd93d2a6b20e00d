// What Artillery's script language has no word for: dropping, and counting messages.
"use strict";

let count = 0;
let together = false;
const waiting = [];

module.exports = {
  // Before a connect: waits for all the others, since arrivals come a millisecond apart at best.
  // There may be some more of them than were asked for; those wait for nobody.
  together(args, context, done) {
    args.target = process.env.WORK_URL;
    waiting.push(() => {
      context.begin = performance.now();
      done();
    });
    together = together || waiting.length >= Number(process.env.WORK_N);
    if (together) waiting.splice(0).forEach((go) => go());
  },
  // After it: a metric of one's own, as its page on extending has it.
  tell(context, events, done) {
    events.emit("histogram", "connect", performance.now() - context.begin);
    context.ws.terminate();
    done();
  },
  drop(context, _events, done) {
    context.ws.terminate();
    done();
  },
  listen(context, _events, done) {
    context.ws.on("message", () => {
      count++;
    });
    done();
  },
  burst(context, _events, done) {
    const n = Number(process.env.WORK_N);
    context.ws.on("message", () => {
      if (++count === n) done();
    });
    context.ws.send(`go ${n} ${process.env.WORK_SIZE}`);
  },
};
