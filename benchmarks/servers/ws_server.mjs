// `ws` of npm on Node's HTTP parser, with `jose` for the tokens; see __init__.py.
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { key: { type: 'string' }, algorithm: { type: 'string', default: 'HS256' }, modules: { type: 'string' } },
});
const require = createRequire(`${values.modules}/`);
const { WebSocketServer } = require('ws');
const { importSPKI, jwtVerify } = await import(pathToFileURL(require.resolve('jose')));

const shared = values.algorithm.startsWith('HS');
const key = shared ? new TextEncoder().encode(values.key) : await importSPKI(values.key, values.algorithm);
const RULES = { algorithms: [values.algorithm], audience: 'probe', issuer: 'probe', requiredClaims: ['exp'] };
const REFUSED = 1008;
const THOUGHTS_MAX = 10_000;

// What a good token says; null for any other.
async function claimsOf(token) {
  try {
    return (await jwtVerify(token, key, RULES)).payload;
  } catch {
    return null;
  }
}

function shown(req) {
  const offers = (req.headers['sec-websocket-protocol'] ?? '').split(',').map((each) => each.trim());
  const query = new URL(req.url, 'ws://localhost').searchParams;
  const token = offers.find((each) => each.startsWith('jwt.'))?.slice(4)
    ?? req.headers.authorization?.replace(/^Bearer /, '') ?? query.get('token');
  return { token: token ?? '', later: query.get('auth') === 'message' };
}

function verifyClient({ req }, answer) {
  const { token, later } = shown(req);
  claimsOf(token).then((claims) => {
    req.claims = claims;
    if (claims !== null || later) answer(true);
    else answer(false, 401, 'no good token');
  });
}

// What is said to a message once a token was shown; null: it is to go back as it came.
async function answersTo(fields, claims) {
  const user_id = claims.sub;
  switch (fields.type) {
    case 'ping':
      return [{ type: 'pong', id: fields.id }];
    case 'start_agent': {
      const { run_id, thread_id, thoughts = 1 } = fields;
      const events = ['started', ...Array(Math.min(thoughts, THOUGHTS_MAX)).fill('thinking'), 'completed'];
      return events.map((what) => ({ type: `agent_${what}`, run_id, thread_id, user_id }));
    }
    case 'refresh': {
      const next = await claimsOf(fields.token);
      const good = next !== null && next.sub === claims.sub;
      return [good ? { type: 'refreshed' } : { type: 'error', message: 'no good token' }];
    }
    case 'authenticate':
      return [{ type: 'error', message: 'authenticated already' }];
    default:
      return null;
  }
}

function parsed(data) {
  try {
    return Object(JSON.parse(data));
  } catch {
    return {};
  }
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(positionals[0]), backlog: 256, verifyClient });
server.on('connection', (socket, req) => {
  let { claims } = req;
  let before = Promise.resolve();
  const say = (fields) => socket.send(JSON.stringify(fields));
  const ready = () => say({ type: 'connection_ready', user_id: claims.sub });

  async function heard(data, isBinary) {
    const fields = parsed(data);
    if (claims === null) {
      claims = await claimsOf(fields.token ?? '');
      if (claims === null) socket.close(REFUSED, 'authentication failed');
      else ready();
      return;
    }
    const answers = await answersTo(fields, claims);
    if (answers === null) socket.send(data, { binary: isBinary });
    else answers.forEach(say);
  }

  socket.on('error', () => {});
  // One after the other, since a token takes its time.
  socket.on('message', (data, isBinary) => { before = before.then(() => heard(data, isBinary)); });
  if (claims !== null) ready();
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
