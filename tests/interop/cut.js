// A network cable pulled: nothing arrives any more and nobody is told. The suite runs in a network namespace of its own,
// the client's host; the server's host and the switch between them are two more. All of it ends with the processes.
'use strict';

const { spawn, spawnSync } = require('child_process');
const { kInfo, ours, startClient, startPosition, startServer } = require('./harness.js');
const { losesCallAndServer, upAndWorking, worksBetween } = require('./reconnect.js');

const kPassword = '123456', kName = 'axis_server';
const kClient = '10.99.0.1', kServer = '10.99.0.2';

function run(...words) {
  const { status, stderr, error } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${words.join(' ')}: ${error ?? stderr}`);
}

// A network namespace that lives as long as this process.
class Host {
  async open() {
    // Its first process says something once it is in there, and ends with its standard input.
    this.first = spawn('unshare', ['--net', 'sh', '-c', 'echo; exec cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise((resolve) => this.first.stdout.once('data', resolve));
    this.within = ['nsenter', `--net=/proc/${this.first.pid}/ns/net`];
    this.run('ip', 'link', 'set', 'lo', 'up');
    return this;
  }
  run(...words) {
    run(...this.within, ...words);
  }
}

class Wire {
  async open() {
    this.switch = await new Host().open();
    this.server = await new Host().open();
    this.switch.run('ip', 'link', 'add', 'bridge', 'type', 'bridge');
    this.switch.run('ip', 'link', 'set', 'bridge', 'up');
    run('ip', 'link', 'set', 'lo', 'up');
    for (const [host, name, ip] of [[{ run }, 'client', kClient], [this.server, 'server', kServer]]) {
      const peer = ['peer', 'name', name, 'netns', String(this.switch.first.pid)];
      host.run('ip', 'link', 'add', 'eth0', 'type', 'veth', ...peer);
      host.run('ip', 'address', 'add', `${ip}/24`, 'dev', 'eth0');
      host.run('ip', 'link', 'set', 'eth0', 'up');
      this.switch.run('ip', 'link', 'set', name, 'master', 'bridge');
      this.switch.run('ip', 'link', 'set', name, 'up');
    }
    return this;
  }
  pull(cable) {
    this.switch.run('ip', 'link', 'set', cable, 'down');
  }
  plug(cable) {
    this.switch.run('ip', 'link', 'set', cable, 'up');
  }
}

let opened;
async function wire() {
  opened ??= await new Wire().open();
  for (const cable of ['client', 'server']) opened.plug(cable); // whatever the case before left
  return opened;
}

// The client finds it out by its pings, our server by its keepalive. Node's keepalive does not bound what is
// unacknowledged, so a server of the vendor's may take a quarter of an hour.
async function comesBack({ client, server }, cable) {
  const net = await wire();
  const [s, where] = await startServer(server, kPassword, { host: kServer, within: net.server.within, port: 3002 });
  const c = startClient(client, 'client', where, kPassword, ['/axis']);
  await upAndWorking(c, s);
  s.lines.length = 0;
  await losesCallAndServer(c, () => net.pull(cable));
  if (server === ours) await s.says('client down');
  net.plug(cable);
  await upAndWorking(c, s);
}

async function replaced({ client, server }) {
  const net = await wire();
  const [d, directoryAt] = await startPosition(ours);
  const [far, where] = await startServer(server, kPassword, { host: kServer, within: net.server.within, port: 3002 });
  await d.ask(['place', kName, where], 'placed');
  const c = startClient(client, 'client', kName, kPassword, ['/axis'], {
    environment: { VSOA_POS_SERVER: directoryAt },
  });
  await upAndWorking(c, far);
  await losesCallAndServer(c, () => net.pull('server'));
  const [near, there] = await startServer(server, kPassword);
  await d.ask(['place', kName, there], 'placed');
  await c.says('up', kInfo);
  net.plug('server'); // the old one is back, and of no interest any more
  await worksBetween(c, near);
}

function cuts(pairing) {
  return [
    ["the server's cable is pulled and plugged in again", () => comesBack(pairing, 'server')],
    ["the client's cable is pulled and plugged in again", () => comesBack(pairing, 'client')],
    ["the server's cable is pulled and another takes its place", () => replaced(pairing)],
  ].map(([name, run]) => [`${pairing.client.name} client, ${pairing.server.name} server: ${name}`, run]);
}

module.exports = { cuts };
