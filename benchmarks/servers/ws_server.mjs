// `ws` of npm on Node's HTTP parser; see __init__.py.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { key: { type: 'string' }, modules: { type: 'string' } },
});
const { WebSocketServer } = createRequire(`${values.modules}/`)('ws');

function isGood(token) {
  const [, signed, signature] = /^([\w-]+\.[\w-]+)\.([\w-]+)$/.exec(token ?? '') ?? [];
  if (signed === undefined) return false;
  const wanted = createHmac('sha256', values.key).update(signed).digest();
  const given = Buffer.from(signature, 'base64url');
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return false;
  const [header, claims] = signed.split('.').map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  const now = Date.now() / 1000;
  return header.alg === 'HS256' && claims.aud === 'probe' && claims.iss === 'probe'
    && (claims.exp ?? Infinity) > now && (claims.nbf ?? 0) <= now;
}

function verifyClient({ req }, answer) {
  const offers = (req.headers['sec-websocket-protocol'] ?? '').split(',').map((each) => each.trim());
  const token = offers.find((each) => each.startsWith('jwt.'))?.slice(4);
  if (isGood(token ?? req.headers.authorization?.replace(/^Bearer /, ''))) answer(true);
  else answer(false, 401, 'no good token');
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(positionals[0]), backlog: 256, verifyClient });
server.on('connection', (socket) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
});
server.on('listening', () => console.log(`listening on 127.0.0.1:${server.address().port}`));
