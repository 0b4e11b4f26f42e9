// What the suites share: programs that speak the line protocol of peer/peer.h, cases with a deadline, free ports.
'use strict';

const assert = require('assert');
const { execFileSync } = require('child_process');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const readline = require('readline');
const { spawn } = require('child_process');

const kCase_ms = 30000;
const kInfo = '{"name":"interop"}';

const running = new Set();
process.on('exit', () => running.forEach((peer) => peer.kill()));

// Which program to start for a role; within is a command that starts it elsewhere.
const ours = { name: 'our', command: (words) => [process.env.INTEROP_PEER, ...words] };
const vendors = { name: 'npm', command: (words) => [process.execPath, path.join(__dirname, 'peer/vendor.js'), ...words] };

// A program, and the lines it says in order.
class Peer {
  constructor(kind, words, { environment = {}, within = [] } = {}) {
    this.name = `${kind.name} ${words.join(' ')}`;
    const [program, ...rest] = [...within, ...kind.command(words.map(String))];
    // Its warnings are kept for the report of a case that fails: the package warns of much that is expected here.
    this.process = spawn(program, rest, { env: { ...process.env, ...environment } });
    this.errors = '';
    this.process.stderr.on('data', (bytes) => (this.errors += bytes));
    this.process.stdin.on('error', () => {});
    this.lines = [];
    this.waiting = undefined;
    this.process.on('error', (error) => (this.errors += error.message));
    this.ended = new Promise((resolve) => this.process.on('close', (code, signal) => resolve(signal ?? code)));
    running.add(this);
    this.ended.then(() => running.delete(this));
    const lines = readline.createInterface({ input: this.process.stdout });
    lines.on('line', (line) => {
      this.lines.push(line);
      this.waiting?.();
    });
    this.ended.then((how) => {
      this.gone = how;
      this.waiting?.();
    });
  }
  tell(...fields) {
    this.process.stdin.write(fields.join('\t').replace(/\t+$/, '') + '\n');
  }
  // The next line; the case's deadline bounds it.
  async next() {
    while (!this.lines.length) {
      if (this.gone !== undefined) throw new Error(`${this.name}: ended with ${this.gone}\n${this.errors}`);
      await new Promise((resolve) => (this.waiting = resolve));
    }
    return this.lines.shift();
  }
  async says(...fields) {
    assert.strictEqual(await this.next(), fields.join('\t'), this.name);
  }
  async ask(command, ...answer) {
    this.tell(...command);
    await this.says(...answer);
  }
  // Passes over what comes before: connections that a frozen server finds dead come and go in any number.
  async comesTo(...fields) {
    while ((await this.next()) !== fields.join('\t')) continue;
  }
  async port() {
    const [word, port] = (await this.next()).split('\t');
    assert.strictEqual(word, 'port', this.name);
    return Number(port);
  }
  signal(name) {
    this.process.kill(name);
  }
  kill() {
    this.process.kill('SIGKILL');
  }
  async close(signal) {
    signal ? this.process.kill(signal) : this.process.stdin.end();
    return this.ended;
  }
}

function freePort({ udp = false, host = '127.0.0.1' } = {}) {
  return new Promise((resolve, reject) => {
    const socket = udp ? dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4') : net.createServer();
    const done = () => {
      const { port } = socket.address();
      socket.close(() => resolve(port));
    };
    socket.on('error', reject);
    udp ? socket.bind(0, host, done) : socket.listen(0, host, done);
  });
}

const at = (host, port) => `${host.includes(':') ? `[${host}]` : host}:${port}`;
const local = (port) => at('127.0.0.1', port);

// A fixed port is asked for, because the vendor's server on port 0 has two.
async function startServer(kind, password, { host = '127.0.0.1', port, ...how } = {}) {
  const wanted = port ?? (await freePort({ host }));
  const server = new Peer(kind, ['server', at(host, wanted), ...(password ? [password] : [])], how);
  return [server, at(host, await server.port())];
}

function startClient(kind, mode, where, password, urls, how) {
  return new Peer(kind, [mode, where, password ?? '-', ...urls], how);
}

async function startPosition(kind) {
  const where = local(await freePort({ udp: true }));
  const server = new Peer(kind, ['position', where]);
  await server.port();
  return [server, where];
}

// Certificates and keys of tests/support/certificates, made at the first use.
let folder;
function certificate(name) {
  if (!folder) {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'interop-'));
    process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
    execFileSync(path.join(__dirname, '../support/certificates'), [folder]);
  }
  return path.join(folder, name);
}

// The environment of a server or client that speaks TLS. own: its certificate; trusts: the authority that it knows.
function secure(role, { own, trusts, keys }) {
  const environment = {};
  if (own) environment.INTEROP_CERT = certificate(own);
  if (trusts) environment.INTEROP_CA = certificate(`${trusts}.pem`);
  // The vendor's client has no option for it.
  if (trusts && role === 'client') environment.NODE_EXTRA_CA_CERTS = environment.INTEROP_CA;
  if (keys) environment.INTEROP_KEYS = certificate(keys);
  return environment;
}

function withDeadline(promise, limit) {
  let late;
  const deadline = new Promise((_, reject) => {
    late = setTimeout(() => reject(new Error(`not within ${limit} ms`)), limit);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(late));
}

async function endAll() {
  const all = [...running];
  all.forEach((peer) => peer.kill());
  await Promise.all(all.map((peer) => peer.ended));
}

// What the peers had to say when a case failed.
function report(error) {
  console.log(String(error.stack ?? error).replace(/^/gm, '    '));
  for (const peer of running) {
    if (peer.lines.length) console.log(`    ${peer.name} said more: ${JSON.stringify(peer.lines.slice(0, 5))}`);
    if (peer.errors) console.log(`    ${peer.name} complained: ${peer.errors.trim()}`);
  }
}

// Runs cases [name, function] one after the other, one line each; a failed one does not stop the rest. Programs end with
// their case, unless it keeps them for the next one. How many failed.
async function runCases(cases) {
  let failed = 0;
  for (const [name, run, { keeps = false, limit = kCase_ms } = {}] of cases) {
    const begin = Date.now();
    try {
      await withDeadline(run(), limit);
      console.log(`ok ${name} (${Date.now() - begin} ms)`);
    } catch (error) {
      ++failed;
      console.log(`not ok ${name} (${Date.now() - begin} ms)`);
      report(error);
      await endAll();
    }
    if (!keeps) await endAll();
  }
  await endAll();
  return failed;
}

module.exports = { Peer, assert, at, freePort, kInfo, local, ours, runCases, startClient, secure, startPosition, startServer, vendors };
