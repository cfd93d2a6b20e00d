// A GraphQL service made of graphql-ws, ws and graphql, for tests/test_graphql.py.
//
// `subscription { ticks(count: N, every: S) }` yields the numbers from 1 to N, with S seconds
// (0 where none are given) between two of them. Everything that goes over the wire is written
// by those packages. Prints one line when it listens:
//
//     node server.mjs PORT [--key KEY]
//
// With --key every `connection_init` must carry a JWT of that key (HS256) as `payload.token`.
import { createHmac } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { GraphQLFloat, GraphQLInt, GraphQLNonNull, GraphQLObjectType, GraphQLSchema, GraphQLString } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer } from 'ws';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { key: { type: 'string' } },
});

function signed(token) {
  const [, text, signature] = /^(.+)\.(.+)$/.exec(token ?? '') ?? [];
  return text !== undefined && createHmac('sha256', values.key).update(text).digest('base64url') === signature;
}

async function* ticks(_root, { count, every }) {
  for (let number = 1; number <= count; number += 1) {
    if (number > 1) await sleep(every * 1000);
    yield { ticks: number };
  }
}

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: 'Query',
    fields: { hello: { type: GraphQLString, resolve: () => 'hello' } },
  }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: {
      ticks: {
        type: new GraphQLNonNull(GraphQLInt),
        args: {
          count: { type: new GraphQLNonNull(GraphQLInt) },
          every: { type: GraphQLFloat, defaultValue: 0 },
        },
        subscribe: ticks,
      },
    },
  }),
});

const listener = new WebSocketServer({ host: '127.0.0.1', port: Number(positionals[0]), backlog: 256 });
useServer(
  {
    schema,
    connectionInitWaitTimeout: 1000,
    // graphql-ws closes with 4403 where this says false.
    onConnect: ({ connectionParams }) => values.key === undefined || signed(connectionParams?.token),
  },
  listener,
);
listener.on('listening', () => console.log(`listening on 127.0.0.1:${listener.address().port}`));
