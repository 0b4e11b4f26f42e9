// What docs/vsoa-interop.md says of the vendor's package and of how we live with it. When a case here fails because the
// package does better, the page is to be mended.
'use strict';

const dgram = require('dgram');
const net = require('net');
const { assert, kInfo, ours, startClient, startServer, vendors } = require('./harness.js');

const kRpc = 1, kDatagram = 5;

// A packet without padding, as if from a client; dataLength is what its header says of data.
function packet(type, seqno, url, param, dataLength = 0) {
  const header = Buffer.alloc(20);
  header.writeUInt8(0x29, 0);
  header.writeUInt8(type, 1);
  header.writeUInt32BE(seqno, 4);
  header.writeUInt16BE(url.length, 10);
  header.writeUInt32BE(param.length, 12);
  header.writeUInt32BE(dataLength, 16);
  const body = Buffer.from(url + param);
  const pad = dataLength ? 0 : -(header.length + body.length) & 3;
  header.writeUInt8(pad << 6, 2);
  return Buffer.concat([header, body, Buffer.alloc(pad)]);
}

const hostAndPort = (where) => ({ host: where.split(':')[0], port: Number(where.split(':')[1]) });

async function link(server, client, mode = 'client') {
  const [s, where] = await startServer(server);
  const c = startClient(client, mode, where, undefined, ['/axis']);
  await c.says('up', kInfo);
  await s.says('client up');
  return { s, c, where };
}

async function numbersAreDropped() {
  for (const [server, client] of [[ours, vendors], [vendors, ours]]) {
    const { s, c } = await link(server, client);
    await c.ask(['get', '/echo', '12'], 'reply', 0);
    await c.ask(['get', '/echo', '[12]'], 'reply', 0, '[12]');
    s.kill();
  }
}

async function otherTextEndsIt() {
  let { s, c } = await link(vendors, ours, 'plain');
  c.tell('get', '/echo', 'no JSON');
  await c.says('reply', 'none');
  await c.says('down');
  ({ s, c } = await link(ours, vendors, 'plain'));
  s.tell('publish', '/axis', 'no JSON');
  await c.says('down');
  await s.says('client down');
}

// The vendor's server on port 0 has a port for UDP that differs from that for TCP, and tells it in the login. Its own
// client then changes its port after it has told which it is, and gets no quick publishes.
async function anotherPort() {
  const [s, where] = await startServer(vendors, undefined, { port: 0 });
  const c = startClient(ours, 'client', where, undefined, ['/axis']);
  await c.says('up', kInfo);
  await s.says('client up');
  s.tell('quick-publish', '/axis', '{"fast":1}');
  await c.says('message', 'quick', '/axis', '{"fast":1}');
  c.tell('quick-datagram', '/up', '{"a":2}');
  await s.says('datagram', 'quick', '/up', '{"a":2}');
}

function connects(host, port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, host, () => resolve(socket));
    socket.on('error', () => resolve(undefined));
  });
}

async function offersStream(server, client) {
  const { s, c } = await link(server, client);
  await c.ask(['get', '/stream/0/0/client'], 'reply', 0);
  const [word, port] = (await s.next()).split('\t');
  assert.strictEqual(word, 'offered');
  return [s, Number(port)];
}

async function streamsEverywhere() {
  const [, port] = await offersStream(vendors, ours);
  const stranger = await connects('127.0.0.2', port);
  assert.ok(stranger, 'the vendor listens on every address');
  stranger.destroy();
  const [s, ourPort] = await offersStream(ours, vendors);
  assert.strictEqual(await connects('127.0.0.2', ourPort), undefined, 'we listen on the address of the service alone');
  (await connects('127.0.0.1', ourPort)).destroy();
  await s.says('stream', true);
}

async function hugeLength() {
  const huge = packet(kRpc, 0, '/echo', '', 0xffffffff); // 24 bytes in 32-bit arithmetic
  for (const server of [vendors, ours]) {
    const { s, c, where } = await link(server, ours);
    const { host, port } = hostAndPort(where);
    const attacker = await connects(host, port);
    const ended = new Promise((resolve) => attacker.on('close', resolve));
    attacker.resume().write(huge);
    await ended;
    if (server === vendors) {
      assert.strictEqual(await s.ended, 'SIGSEGV');
    } else {
      await c.ask(['get', '/echo', '{}'], 'reply', 0, '{}');
    }
  }
}

async function forgedSource() {
  for (const server of [vendors, ours]) {
    const { s, c, where } = await link(server, ours);
    const { host, port } = hostAndPort(where);
    const stranger = dgram.createSocket('udp4');
    // The first client's id: the vendor counts from 0, we from 1.
    const forged = packet(kDatagram, server === vendors ? 0 : 1, '/forged', '{}');
    await new Promise((resolve) => stranger.send(forged, port, host, resolve));
    stranger.close();
    if (server === vendors) await s.says('datagram', 'quick', '/forged', '{}');
    c.tell('quick-datagram', '/true', '{}');
    await s.says('datagram', 'quick', '/true', '{}');
  }
}

function defects() {
  return [
    ["npm's parameters that are numbers are dropped, in an array they are not", numbersAreDropped],
    ['npm ends a connection at a parameter that is no JSON', otherTextEndsIt],
    ['our client finds the quick channel of an npm server on port 0', anotherPort],
    ["npm offers a stream on every address, we on the service's", streamsEverywhere],
    ['npm dies of a length of 0xffffffff, we close that connection', hugeLength],
    ['npm takes a quick datagram from anybody who knows an id, we do not', forgedSource],
  ];
}

module.exports = { defects };
