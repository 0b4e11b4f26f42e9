// Interoperability with the vendor: our programs and the vendor's speak the same line protocol (interop_peer.c), so
// every case runs with the vendor's client and our server, and the other way round.
//
//   node interop.js vendor-client | vendor-server | position
'use strict';

const assert = require('assert');
const dgram = require('dgram');
const net = require('net');
const path = require('path');
const readline = require('readline');
const { spawn } = require('child_process');

const kDeadline = 15000;
const running = new Set();

const ours = (...words) => [process.env.INTEROP_PEER, words];
const vendors = (...words) => [process.execPath, [path.join(__dirname, 'vendor.js'), ...words]];

// A program, and the lines it says in order.
class Peer {
  constructor([program, given], environment = {}) {
    const words = given.map(String);
    this.name = path.basename(program) + ' ' + words.filter((w) => !w.endsWith('.js')).join(' ');
    this.process = spawn(program, words, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, ...environment },
    });
    this.lines = [];
    this.waiting = [];
    this.process.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => this.process.on('exit', resolve));
    running.add(this.process);
    this.process.on('exit', () => running.delete(this.process));
    readline.createInterface({ input: this.process.stdout }).on('line', (line) => {
      const next = this.waiting.shift();
      next ? next(line.trimEnd()) : this.lines.push(line.trimEnd());
    });
  }
  tell(line) {
    this.process.stdin.write(line + '\n');
  }
  next() {
    if (this.lines.length) return Promise.resolve(this.lines.shift());
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`${this.name}: said nothing in ${kDeadline} ms`)), kDeadline);
      this.waiting.push((line) => {
        clearTimeout(late);
        resolve(line);
      });
    });
  }
  async says(expected) {
    assert.strictEqual(await this.next(), expected, this.name);
  }
  async ask(line, expected) {
    this.tell(line);
    await this.says(expected);
  }
  async port() {
    const [word, port] = (await this.next()).split(' ');
    assert.strictEqual(word, 'port', this.name);
    return Number(port);
  }
  async close(signal) {
    signal ? this.process.kill(signal) : this.process.stdin.end();
    await this.ended;
  }
}

// The vendor's position server cannot say which port it got, and its server on port 0 has two.
function freePort(datagram) {
  return new Promise((resolve, reject) => {
    const socket = datagram ? dgram.createSocket('udp4') : net.createServer();
    const done = () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    };
    socket.on('error', reject);
    datagram ? socket.bind(0, '127.0.0.1', done) : socket.listen(0, '127.0.0.1', done);
  });
}

// Stands between a client and a server and counts the logins that the server refused.
class Relay {
  constructor(port) {
    this.refused = 0;
    this.listener = net.createServer((client) => {
      const server = net.connect(port, '127.0.0.1');
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
      this.listener.listen(0, '127.0.0.1', () => resolve(this.listener.address().port));
    });
  }
  refusals(wanted) {
    return new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`${this.refused} of ${wanted} logins refused in ${kDeadline} ms`)), kDeadline);
      this.changed = () => {
        if (this.refused < wanted) return;
        clearTimeout(late);
        resolve();
      };
      this.changed();
    });
  }
}

const kServinfo = 0, kReply = 1, kWrongPassword = 1;
const kInfo = '{"name":"interop"}';
const where = (port) => `127.0.0.1:${port}`;

async function startServer(make, password, port) {
  const server = new Peer(make('server', port ?? (await freePort()), ...(password ? [password] : [])));
  return [server, await server.port()];
}

async function passwords(server, client) {
  for (const [wanted, given, good] of [
    ['123456', '123456', true],
    ['123456', '12345', false],
    ['123456', '-', false],
    [undefined, '-', true],
    [undefined, '123456', true],
  ]) {
    const [s, port] = await startServer(server, wanted);
    const once = new Peer(client('connect', where(port), given));
    await once.says(good ? `connected ${kInfo}` : 'refused 1');
    await once.ended;
    const relay = new Relay(port);
    const lasting = new Peer(client('client', where(await relay.listen()), given, '/axis'));
    if (good) {
      await lasting.says(`up ${kInfo}`);
      assert.strictEqual(relay.refused, 0);
    } else {
      // It goes on trying, and says nothing of it: at the second attempt it knew the end of the first.
      await relay.refusals(2);
      assert.deepStrictEqual(lasting.lines, []);
    }
    await lasting.close();
    relay.listener.close();
    await s.close();
  }
}

async function calls(server, client) {
  const [s, port] = await startServer(server, '123456');
  const c = new Peer(client('client', where(port), '123456', '/axis'));
  await c.says(`up ${kInfo}`);
  await c.ask('get /echo {"a":[1,"x",null]}', 'reply 0 {"a":[1,"x",null]}');
  await c.ask('get /echo', 'reply 0');
  await c.ask('get /method', 'reply 0 {"method":0}');
  await c.ask('set /method {"a":1}', 'reply 0 {"method":1}');
  await c.ask('get /below/a/b', 'reply 0 {"url":"/below/a/b"}');
  await c.ask('get /below', 'reply 0 {"url":"/below"}');
  await c.ask('get /nowhere', 'reply 3');
  c.tell('get /status');
  assert.match(await c.next(), /^reply 200/);
  const long = `"${'x'.repeat(2000)}"`;
  for (let i = 0; i < 50; ++i) c.tell(`get /echo {"i":${i},"long":${long}}`);
  for (let i = 0; i < 50; ++i) await c.says(`reply 0 {"i":${i},"long":${long}}`);
  for (let i = 0; i < 3; ++i) await c.ask('ping', 'pong true');
  await c.close();
  await s.close();
}

async function publishes(server, client, port) {
  const [s, bound] = await startServer(server, '123456', port);
  const c = new Peer(client('client', where(bound), '123456', '/axis', '/folder/'));
  await c.says(`up ${kInfo}`);
  await s.says('client up');
  for (let i = 0; i < 200; ++i) s.tell(`publish /axis {"roll":${i}}`);
  for (let i = 0; i < 200; ++i) await c.says(`message tcp /axis {"roll":${i}}`);
  for (const url of ['/axis/x', '/axi', '/other', '/folderx']) s.tell(`publish ${url} {}`);
  s.tell('publish /folder/a/b');
  await c.says('message tcp /folder/a/b');
  s.tell('publish /folder {"x":"陀螺"}');
  await c.says('message tcp /folder {"x":"陀螺"}');
  // The vendor's client on a port-0 server announces a UDP port that it then leaves.
  if (port !== 0) {
    s.tell('quick /axis {"fast":1}');
    await c.says('message quick /axis {"fast":1}');
  }
  c.tell('datagram /up {"a":1}');
  await s.says('datagram tcp /up {"a":1}');
  c.tell('quick /up {"a":2}');
  await s.says('datagram quick /up {"a":2}');
  s.tell('datagram /down {"b":1}');
  await c.says('datagram /down {"b":1}');
  await c.ask('unsubscribe /axis', 'unsubscribed true');
  s.tell('publish /axis {}');
  s.tell('publish /folder/end');
  await c.says('message tcp /folder/end');
  await c.close();
  await s.says('client down');
  await s.close();
}

async function moves(server, client, directory) {
  const directoryPort = await freePort(true);
  const d = new Peer(directory('position', directoryPort));
  assert.strictEqual(await d.port(), directoryPort);
  const environment = { VSOA_POS_SERVER: where(directoryPort) };
  let [s, port] = await startServer(server, '123456');
  await d.ask(`place axis_server 127.0.0.1 ${port}`, 'placed');
  const c = new Peer(client('client', 'axis_server', '123456', '/axis'), environment);
  for (const signal of ['SIGKILL', undefined, 'SIGKILL']) {
    await c.says(`up ${kInfo}`);
    await s.says('client up');
    s.tell('publish /axis {"roll":1}');
    await c.says('message tcp /axis {"roll":1}');
    await d.ask('remove axis_server', 'removed');
    await s.close(signal);
    await c.says('down');
    [s, port] = await startServer(server, '123456');
    await d.ask(`place axis_server 127.0.0.1 ${port}`, 'placed');
  }
  await c.says(`up ${kInfo}`);
  await c.close();
  await s.close();
  await d.close();
}

async function looksUp(directory, client) {
  const port = await freePort(true);
  const d = new Peer(directory('position', port));
  assert.strictEqual(await d.port(), port);
  await d.ask('place axis_server 127.0.0.1 3002', 'placed');
  await d.ask('place other 10.1.2.3 65000', 'placed');
  const ask = async (name, expected, servers) => {
    const c = new Peer(client('lookup', name), { VSOA_POS_SERVER: servers || where(port) });
    await c.says(expected);
    await c.ended;
  };
  await ask('axis_server', 'found 127.0.0.1 3002');
  await ask('other', 'found 10.1.2.3 65000');
  await ask('nobody', 'not found');
  await d.ask('remove other', 'removed');
  await ask('other', 'not found');
  await ask('axis_server', 'found 127.0.0.1 3002', `${where(await freePort(true))},${where(port)}`);
  await d.close();
}

async function pair(server, client) {
  return [
    ['passwords: right, wrong, none', () => passwords(server, client)],
    ['calls and pings', () => calls(server, client)],
    ['publishes and datagrams', () => publishes(server, client)],
    ['a server killed and moved, looked up at ours', () => moves(server, client, ours)],
    ["a server killed and moved, looked up at the vendor's", () => moves(server, client, vendors)],
  ];
}

const suites = {
  'vendor-client': () => pair(ours, vendors),
  'vendor-server': async () => [
    ...(await pair(vendors, ours)),
    ['a server with another port for UDP', () => publishes(vendors, ours, 0)],
  ],
  position: async () => [
    ["the vendor's look-up at our position server", () => looksUp(ours, vendors)],
    ["our look-up at the vendor's position server", () => looksUp(vendors, ours)],
  ],
};

async function main() {
  for (const [name, run] of await suites[process.argv[2]]()) {
    const begin = Date.now();
    await run();
    console.log(`ok ${name} (${Date.now() - begin} ms)`);
  }
}

process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));
main().catch((error) => {
  console.error(error);
  process.exit(1);
});
