// Everything that two peers exchange on one connection.
'use strict';

const net = require('net');
const { assert, kInfo, local, Peer, secure, startClient, startServer } = require('./harness.js');

const kServinfo = 0, kReply = 1, kWrongPassword = 1;
const kLargest = 262144, kLargestQuick = 65504, kHeader = 20;

// A server and a client connected to it, kept from case to case; started anew after a case that failed.
class Link {
  constructor(pairing, { password, host, mode = 'client', tls }) {
    Object.assign(this, { pairing, password, host, mode, tls });
  }
  async open() {
    if (this.c && this.c.gone === undefined && this.s.gone === undefined) return;
    const { server = {}, client = {} } = this.tls ?? {};
    const environment = secure('server', server);
    [this.s, this.where] = await startServer(this.pairing.server, this.password, { host: this.host, environment });
    this.c = startClient(this.pairing.client, this.mode, this.where, this.password, ['/axis'], {
      // Nothing is lost here, whatever else this machine does.
      environment: { ...secure('client', client), INTEROP_KEEPALIVE: 5000 },
    });
    await this.c.says('up', kInfo);
    await this.s.says('client up');
  }
  // Nobody said more than was expected; a call is answered after whatever came before it.
  async quiet() {
    await this.c.ask(['get', '/method'], 'reply', 0, '{"method":0}');
    assert.deepStrictEqual([...this.c.lines, ...this.s.lines], []);
  }
}

const calls = {
  'GET and SET reach the server as such': async ({ c }) => {
    await c.ask(['get', '/method'], 'reply', 0, '{"method":0}');
    await c.ask(['set', '/method', '{"a":1}'], 'reply', 0, '{"method":1}');
  },
  'parameters and data come back as they were sent': async ({ c }) => {
    for (const param of ['{"a":[1,"x",null]}', '[]', '"text"', '{"x":"陀螺"}', '']) {
      await c.ask(['get', '/echo', param], 'reply', 0, ...(param ? [param] : []));
      await c.ask(['set', '/echo', param, 1000], 'reply', 0, param, 1000);
    }
    for (const count of [1, 2, 3, 4, 5]) await c.ask(['get', '/echo', '', count], 'reply', 0, '', count);
  },
  'an unknown URL is answered with status 3': async ({ c }) => {
    for (const url of ['/nowhere', '/echo/', '/echo/x', '/ech', '/belowx']) await c.ask(['get', url], 'reply', 3);
  },
  'a status of the application arrives with its parameter': ({ c }) =>
    c.ask(['get', '/status'], 'reply', 200, '{"why":"asked"}'),
  'a wildcard takes its URL and all below, the longer one first': async ({ c }) => {
    for (const [url, by] of [['/below', '/below/'], ['/below/', '/below/'], ['/below/a/b', '/below/'],
      ['/below/deeper', '/below/deeper/'], ['/below/deeper/x', '/below/deeper/'], ['/below/deepest', '/below/']]) {
      await c.ask(['get', url], 'reply', 0, JSON.stringify({ url, by }));
    }
  },
  'many calls at once are answered in their order': async ({ c }) => {
    const long = 'x'.repeat(2000);
    for (let i = 0; i < 100; ++i) c.tell('get', '/echo', JSON.stringify({ i, long }), i);
    for (let i = 0; i < 100; ++i) await c.says('reply', 0, JSON.stringify({ i, long }), ...(i ? [i] : []));
  },
  'answers find their calls in any order': async ({ c, s }) => {
    for (let i = 0; i < 3; ++i) c.tell('get', '/hold');
    await c.ask(['get', '/echo', '{}'], 'reply', 0, '{}');
    s.tell('release');
    for (const held of [2, 1, 0]) await c.says('reply', 0, JSON.stringify({ held }));
  },
  'a call without an answer ends in time, and its late answer does no harm': async ({ c, s }) => {
    await c.ask(['impatient', '/hold'], 'reply', 'none');
    s.tell('release');
    await c.ask(['get', '/echo', '{}'], 'reply', 0, '{}');
  },
  'the longest packet goes both ways': ({ c }) => {
    const count = kLargest - kHeader - '/echo'.length - 3; // without padding
    return c.ask(['get', '/echo', '', count], 'reply', 0, '', count);
  },
};

const subscriptions = {
  'publishes arrive in their order': async ({ c, s }) => {
    for (let i = 0; i < 200; ++i) s.tell('publish', '/axis', JSON.stringify({ roll: i }), i);
    for (let i = 0; i < 200; ++i) {
      await c.says('message', 'tcp', '/axis', JSON.stringify({ roll: i }), ...(i ? [i] : []));
    }
  },
  'only what was subscribed arrives': async ({ c, s }) => {
    for (const url of ['/axis/', '/axis/x', '/axi', '/Axis', '/other']) s.tell('publish', url, '{}');
    s.tell('publish', '/axis');
    await c.says('message', 'tcp', '/axis');
  },
  'a subscription by URL is made and taken back': async ({ c, s }) => {
    await c.ask(['subscribe', '/one'], 'subscribed', true);
    s.tell('publish', '/one', '{"x":"陀螺"}');
    await c.says('message', 'tcp', '/one', '{"x":"陀螺"}');
    await c.ask(['unsubscribe', '/one'], 'unsubscribed', true);
    s.tell('publish', '/one', '{}');
    s.tell('publish', '/axis', '{}');
    await c.says('message', 'tcp', '/axis', '{}');
  },
  'subscriptions by array are made and taken back': async ({ c, s }) => {
    await c.ask(['subscribe-all', '/a', '/b', '/c/'], 'subscribed', true);
    for (const url of ['/a', '/b', '/c/d']) {
      s.tell('publish', url, '{}');
      await c.says('message', 'tcp', url, '{}');
    }
    await c.ask(['unsubscribe-all', '/a', '/c/'], 'unsubscribed', true);
    for (const url of ['/a', '/c/d', '/b']) s.tell('publish', url, '{}');
    await c.says('message', 'tcp', '/b', '{}');
    await c.ask(['unsubscribe', '/b'], 'unsubscribed', true);
  },
  'a subscription that ends in / takes its URL and all below': async ({ c, s }) => {
    await c.ask(['subscribe', '/folder/'], 'subscribed', true);
    for (const url of ['/folderx', '/folde']) s.tell('publish', url, '{}');
    for (const url of ['/folder', '/folder/', '/folder/a/b']) {
      s.tell('publish', url, '{}');
      await c.says('message', 'tcp', url, '{}');
    }
    await c.ask(['unsubscribe', '/folder/'], 'unsubscribed', true);
  },
  'a message that matches twice arrives once': async ({ c, s }) => {
    await c.ask(['subscribe-all', '/', '/t', '/t/'], 'subscribed', true);
    s.tell('publish', '/t', '{"n":1}');
    s.tell('publish', '/anything', '{"n":2}');
    await c.says('message', 'tcp', '/t', '{"n":1}');
    await c.says('message', 'tcp', '/anything', '{"n":2}');
    await c.ask(['unsubscribe-all', '/', '/t', '/t/'], 'unsubscribed', true);
  },
};

const quickPublishes = {
  'quick publishes arrive, up to the longest': async ({ c, s }) => {
    for (const count of [0, 1, 1000, kLargestQuick - kHeader - '/axis'.length - '{}'.length - 1]) {
      s.tell('quick-publish', '/axis', '{}', count);
      await c.says('message', 'quick', '/axis', '{}', ...(count ? [count] : []));
    }
    s.tell('quick-publish', '/other', '{}');
    s.tell('quick-publish', '/axis', '{"last":1}');
    await c.says('message', 'quick', '/axis', '{"last":1}');
  },
};

const datagrams = {
  'datagrams go from client to server': async ({ c, s }) => {
    c.tell('datagram', '/up', '{"a":1}', 100);
    await s.says('datagram', 'tcp', '/up', '{"a":1}', 100);
  },
  'datagrams go from server to client': async ({ c, s }) => {
    s.tell('datagram', '/down', '{"b":1}', 100);
    await c.says('datagram', 'tcp', '/down', '{"b":1}', 100);
  },
};

const quickDatagrams = {
  'quick datagrams go from client to server, up to the longest': async ({ c, s }) => {
    for (const count of [1, 1000, kLargestQuick - kHeader - '/up'.length - 1]) {
      c.tell('quick-datagram', '/up', '', count);
      await s.says('datagram', 'quick', '/up', '', count);
    }
  },
  'quick datagrams go from server to client, up to the longest': async ({ c, s }) => {
    for (const count of [1, 1000, kLargestQuick - kHeader - '/down'.length - 3]) {
      s.tell('quick-datagram', '/down', '', count);
      await c.says('datagram', 'quick', '/down', '', count);
    }
  },
};

// With TLS our side has no quick channel and says so; the vendor's sends in clear, and nobody takes it.
const quickIsOff = ({ client, server }) => ({
  'nothing quick arrives at an encrypted connection': async ({ c, s }) => {
    s.tell('quick-publish', '/axis', '{}');
    if (server.name === 'our') await s.says('unsupported', 'quick-publish');
    s.tell('publish', '/axis', '{"tcp":1}');
    await c.says('message', 'tcp', '/axis', '{"tcp":1}');
    c.tell('quick-datagram', '/up', '{}');
    if (client.name === 'our') await c.says('unsupported', 'quick-datagram');
    c.tell('datagram', '/up', '{"tcp":1}');
    await s.says('datagram', 'tcp', '/up', '{"tcp":1}');
  },
});

const stream = (up, down, side) => async ({ c, s }) => {
  c.tell('stream', `/stream/${up}/${down}/${side}`);
  assert.match(await s.next(), /^offered\t[0-9]+$/);
  await c.says('stream', true);
  await s.says('stream', true);
};

const others = {
  'pings are answered': async ({ c }) => {
    for (let i = 0; i < 5; ++i) await c.ask(['ping'], 'pong', true);
  },
  'a priority is set without disturbing anything': async ({ c, s }) => {
    for (const priority of [5, 0]) {
      s.tell('priority', priority);
      s.tell('publish', '/axis', '{}');
      await c.says('message', 'tcp', '/axis', '{}');
    }
  },
  'a stream carries a megabyte to the server': stream(1000000, 0, 'client'),
  'a stream carries a megabyte to the client': stream(0, 1000000, 'server'),
  'a stream carries both ways at once, the client ends it': stream(300000, 1000000, 'client'),
  'a stream carries both ways at once, the server ends it': stream(1000000, 300000, 'server'),
};

// What only our client can send.
const ourClients = {
  'a NOOP is passed over': async ({ c }) => {
    c.tell('noop');
    await c.ask(['ping'], 'pong', true);
  },
};

function messages(pairing, link) {
  const it = new Link(pairing, link);
  const quick = link.tls ? quickIsOff(pairing) : { ...quickPublishes, ...quickDatagrams };
  const all = { ...calls, ...subscriptions, ...datagrams, ...quick, ...others };
  if (pairing.client.name === 'our') Object.assign(all, ourClients);
  return Object.entries(all).map(([name, run], i, { length }) => [
    `${pairing.client.name} client, ${pairing.server.name} server, ${link.name}: ${name}`,
    async () => {
      await it.open();
      await run(it);
      await it.quiet();
    },
    { keeps: i + 1 < length },
  ]);
}

// Stands between a client and a server and counts the logins that the server refused.
class Relay {
  constructor(where) {
    this.refused = 0;
    this.listener = net.createServer((client) => {
      const server = net.connect(Number(where.split(':')[1]), '127.0.0.1');
      server.once('data', (bytes) => {
        const [, type, flags, status] = bytes; // the answer to the login comes first, in one piece
        if (type === kServinfo && flags & kReply && status === kWrongPassword) this.refused += 1;
        this.changed?.();
      });
      for (const [from, to] of [[client, server], [server, client]]) {
        from.on('error', () => to.destroy());
        from.pipe(to);
      }
    });
  }
  listen() {
    return new Promise((resolve) => {
      this.listener.listen(0, '127.0.0.1', () => resolve(local(this.listener.address().port)));
    });
  }
  async refusals(wanted) {
    while (this.refused < wanted) await new Promise((resolve) => (this.changed = resolve));
  }
}

async function login({ client, server }, wanted, given, good) {
  const [s, where] = await startServer(server, wanted);
  const once = new Peer(client, ['connect', where, given]);
  await (good ? once.says('connected', kInfo) : once.says('refused', kWrongPassword));
  const relay = new Relay(where);
  const lasting = startClient(client, 'client', await relay.listen(), given, ['/axis']);
  if (good) {
    await lasting.says('up', kInfo);
    assert.strictEqual(relay.refused, 0);
  } else {
    // It goes on trying, and says nothing of it: at the second attempt it knew the end of the first.
    await relay.refusals(2);
    assert.deepStrictEqual(lasting.lines, []);
    assert.deepStrictEqual(s.lines, []);
  }
  relay.listener.close();
}

function logins(pairing) {
  return [
    ['the right password is taken', '123456', '123456', true],
    ['a wrong password is refused', '123456', '12345', false],
    ['no password is refused where one is wanted', '123456', '-', false],
    ['no password is taken where none is wanted', undefined, '-', true],
    ['a password is taken where none is wanted', undefined, '123456', true],
  ].map(([name, wanted, given, good]) => [
    `${pairing.client.name} client, ${pairing.server.name} server: ${name}`,
    () => login(pairing, wanted, given, good),
  ]);
}

// Who is let in by which certificate. A refused client does no harm to the next one.
async function handshake({ client, server }, shows, client_tls, good, more = {}) {
  const environment = { ...secure('server', shows), ...more };
  const [, where] = await startServer(server, '123456', { environment });
  const once = async (tls) => new Peer(client, ['connect', where, '123456'], {
    environment: { ...secure('client', tls), ...more },
  }).next();
  assert.strictEqual(await once(client_tls), good ? `connected\t${kInfo}` : 'refused\ttls');
  if (good || (shows.own !== 'server')) return;
  assert.strictEqual(await once({ own: 'client', trusts: 'ca' }), `connected\t${kInfo}`);
}

function handshakes(pairing) {
  const one_sided = { own: 'server' }, mutual = { own: 'server', trusts: 'ca' };
  const cases = [
    ['a server whose authority is known is taken', one_sided, { trusts: 'ca' }, true],
    ['a server of another authority is refused', one_sided, { trusts: 'other-ca' }, false],
    ['a server whose certificate has expired is refused', { own: 'expired' }, { trusts: 'ca' }, false],
    ['a server whose certificate is for another address is refused', { own: 'elsewhere' }, { trusts: 'ca' }, false],
    ['a client with a certificate is taken', mutual, { own: 'client', trusts: 'ca' }, true],
    ['a client without one is refused', mutual, { trusts: 'ca' }, false],
    ['a client with one of another authority is refused', mutual, { own: 'outsider', trusts: 'ca' }, false],
    ['a peer that has only TLS 1.2 is taken', mutual, { own: 'client', trusts: 'ca' }, true, { NODE_OPTIONS: '--tls-max-v1.2' }],
  ];
  if (pairing.client.name === 'our') {
    // The vendor's client has no option for keys.
    const keys = { own: 'stranger', keys: 'keys.txt' };
    cases.push(['a client with a pre-shared key is taken', keys, { keys: 'client-keys.txt' }, true]);
    cases.push(['a client with another key is refused', keys, { keys: 'other-keys.txt' }, false]);
  }
  return cases.map(([name, shows, tls, good, more]) => [
    `${pairing.client.name} client, ${pairing.server.name} server, TLS: ${name}`,
    () => handshake(pairing, shows, tls, good, more),
  ]);
}

module.exports = { handshakes, logins, messages };
