// What becomes of a client when its server goes, stands still or turns up elsewhere.
'use strict';

const {
  assert, freePort, kInfo, local, ours, startClient, startPosition, startServer, vendors,
} = require('./harness.js');

const kPassword = '123456', kName = 'axis_server';

// Everything works between them, over TCP and UDP. What the server said of connections before is of no interest.
async function worksBetween(c, s) {
  await c.ask(['get', '/echo', '{"a":1}'], 'reply', 0, '{"a":1}');
  await c.ask(['ping'], 'pong', true);
  s.tell('publish', '/axis', '{"roll":1}');
  await c.says('message', 'tcp', '/axis', '{"roll":1}');
  s.tell('quick-publish', '/axis', '{"roll":2}');
  await c.says('message', 'quick', '/axis', '{"roll":2}');
  s.tell('datagram', '/down', '{"b":1}');
  await c.says('datagram', 'tcp', '/down', '{"b":1}');
  s.tell('quick-datagram', '/down', '{"b":2}');
  await c.says('datagram', 'quick', '/down', '{"b":2}');
  c.tell('datagram', '/up', '{"c":1}');
  await s.comesTo('datagram', 'tcp', '/up', '{"c":1}');
  c.tell('quick-datagram', '/up', '{"c":2}');
  await s.comesTo('datagram', 'quick', '/up', '{"c":2}');
}

async function upAndWorking(c, s) {
  await c.says('up', kInfo);
  await worksBetween(c, s);
}

// A call that is outstanding when the server goes ends without an answer, before the program hears of the loss.
async function losesCallAndServer(c, goes) {
  c.tell('get', '/hold');
  await c.ask(['get', '/echo'], 'reply', 0);
  await goes();
  await c.says('reply', 'none');
  await c.says('down');
}

async function sameAddress({ client, server }, signal) {
  let [s, where] = await startServer(server, kPassword);
  const port = Number(where.split(':')[1]);
  const c = startClient(client, 'client', where, kPassword, ['/axis']);
  for (let i = 0; i < 2; ++i) {
    await upAndWorking(c, s);
    await losesCallAndServer(c, () => s.close(signal));
    [s] = await startServer(server, kPassword, { port });
  }
  await upAndWorking(c, s);
}

async function moves({ client, server }, directory, goes) {
  const [d, directoryAt] = await startPosition(directory);
  let [s, where] = await startServer(server, kPassword);
  await d.ask(['place', kName, where], 'placed');
  const c = startClient(client, 'client', kName, kPassword, ['/axis'], {
    environment: { VSOA_POS_SERVER: directoryAt },
  });
  for (let i = 0; i < 2; ++i) {
    await upAndWorking(c, s);
    await d.ask(['remove', kName], 'removed');
    await losesCallAndServer(c, () => goes(s));
    [s, where] = await startServer(server, kPassword);
    await d.ask(['place', kName, where], 'placed');
  }
  await upAndWorking(c, s);
}

async function clientFirst({ client, server }) {
  const [d, directoryAt] = await startPosition(ours);
  const c = startClient(client, 'client', `vsoa://${kName}`, kPassword, ['/axis'], {
    environment: { VSOA_POS_SERVER: directoryAt },
  });
  const port = await freePort();
  await d.ask(['place', kName, local(port)], 'placed'); // told, but nobody is there
  const once = startClient(client, 'connect', local(port), kPassword, []);
  await once.ended;
  const [s] = await startServer(server, kPassword, { port });
  await upAndWorking(c, s);
}

async function thaws({ client, server }) {
  const [s, where] = await startServer(server, kPassword);
  const c = startClient(client, 'client', where, kPassword, ['/axis']);
  await upAndWorking(c, s);
  await losesCallAndServer(c, () => s.signal('SIGSTOP'));
  s.signal('SIGCONT');
  await upAndWorking(c, s);
}

// The server drops a client that takes nothing, goes on with the others, and has it back afterwards.
async function clientFreezes({ client, server }) {
  const [s, where] = await startServer(server, kPassword);
  const c = startClient(client, 'client', where, kPassword, ['/axis']);
  await upAndWorking(c, s);
  const other = startClient(client, 'client', where, kPassword, ['/other']);
  await other.says('up', kInfo);
  await s.says('client up');
  c.signal('SIGSTOP');
  while (!s.lines.includes('client down')) {
    s.tell('publish', '/axis', '', 100000);
    await other.ask(['ping'], 'pong', true);
  }
  c.signal('SIGCONT');
  let line;
  do {
    line = await c.next();
    assert.match(line, /^(message\ttcp\t\/axis\t\t100000|down|up\t.*)$/);
  } while (!line.startsWith('up'));
  await worksBetween(c, s); // the other one gets the datagrams too
  other.tell('ping');
  await other.comesTo('pong', true);
}

function reconnects(pairing) {
  return [
    ['the server is killed and comes back', () => sameAddress(pairing, 'SIGKILL')],
    ['the server ends and comes back', () => sameAddress(pairing)],
    ['the server is killed and moves, our position server tells', () => moves(pairing, ours, (s) => s.close('SIGKILL'))],
    ["the server is killed and moves, npm's position server tells",
      () => moves(pairing, vendors, (s) => s.close('SIGKILL'))],
    ['the server freezes and another takes its place', () => moves(pairing, ours, (s) => s.signal('SIGSTOP'))],
    ['the server freezes and thaws', () => thaws(pairing)],
    ['the client is there before the server', () => clientFirst(pairing)],
    ['the client freezes, is dropped and comes back', () => clientFreezes(pairing)],
  ].map(([name, run]) => [`${pairing.client.name} client, ${pairing.server.name} server: ${name}`, run]);
}

module.exports = { losesCallAndServer, reconnects, upAndWorking, worksBetween };
