// The vendor's package behind the line protocol of interop_peer.c: see there.
'use strict';

const readline = require('readline');
const vsoa = require(process.env.INTEROP_PACKAGE);

const say = (line) => process.stdout.write(line + '\n');
const text = (param) => (param === undefined ? '' : JSON.stringify(param));
const payload = (words) => {
  const joined = words.join(' ');
  return joined ? { param: JSON.parse(joined) } : undefined;
};

function commands(table) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const [name, ...words] = line.split(' ');
    table[name](...words);
  });
  lines.on('close', () => process.exit(0));
}

function server(port, password) {
  const options = { info: { name: 'interop' } };
  if (password) options.passwd = password;
  const it = new vsoa.Server(options);
  const clients = new Set();
  it.onclient = (client, connect) => {
    connect ? clients.add(client) : clients.delete(client);
    say(connect ? 'client up' : 'client down');
  };
  it.ondata = (client, url, p, quick) => say(`datagram ${quick ? 'quick' : 'tcp'} ${url} ${text(p && p.param)}`);
  it.on('/echo', (client, request, p) => client.reply(0, request.seqno, p));
  it.on('/method', (client, request) => client.reply(0, request.seqno, { param: { method: request.method } }));
  it.on('/status', (client, request) => client.reply(200, request.seqno, { param: { why: 'asked' } }));
  it.on('/below/', (client, request) => client.reply(0, request.seqno, { param: { url: request.url } }));
  it.start({ domain: vsoa.AF_INET, addr: '127.0.0.1', port: Number(port) }, undefined, (error) => {
    if (error) throw error;
    say(`port ${it.address().port}`);
  });
  commands({
    publish: (url, ...words) => it.publish(url, payload(words)),
    quick: (url, ...words) => it.publish(url, payload(words), true),
    datagram: (url, ...words) => clients.forEach((c) => c.datagram(url, payload(words))),
  });
}

function address(where) {
  if (!/^[0-9.]+:[0-9]+$/.test(where)) return `vsoa://${where}`;
  const [addr, port] = where.split(':');
  return { domain: vsoa.AF_INET, addr, port: Number(port) };
}

// The vendor's client does not connect again by itself and notices a server's end only by lost pings.
function client(where, password, ...urls) {
  let it;
  const connect = () => {
    const options = { pingInterval: 200, pingTimeout: 200, pingLost: 2 };
    if (password && password !== '-') options.passwd = password;
    const now = new vsoa.Client(options);
    it = now;
    let up = false;
    const again = () => {
      if (it !== now) return;
      it = undefined;
      now.close();
      if (up) say('down');
      setTimeout(connect, 100);
    };
    now.on('error', again);
    now.on('message', (url, p, quick) => say(`message ${quick ? 'quick' : 'tcp'} ${url} ${text(p && p.param)}`));
    now.on('datagram', (url, p) => say(`datagram ${url} ${text(p && p.param)}`));
    now.connect(address(where), (error, info) => {
      if (error) return again();
      now.subscribe(urls, (refused) => {
        if (refused) return again();
        up = true;
        say(`up ${JSON.stringify(info)}`);
      });
    });
  };
  connect();
  const called = (error, p) => {
    if (error && error.status === undefined) return say('reply none');
    say(`reply ${error ? error.status : 0} ${text(p && p.param)}`);
  };
  commands({
    get: (url, ...words) => it.call(url, { method: 'GET' }, payload(words), called, 5000),
    set: (url, ...words) => it.call(url, { method: 'SET' }, payload(words), called, 5000),
    ping: () => it.ping((error) => say(`pong ${!error}`), 5000),
    datagram: (url, ...words) => it.datagram(url, payload(words)),
    quick: (url, ...words) => it.datagram(url, payload(words), true),
    unsubscribe: (url) => it.unsubscribe(url, (error) => say(`unsubscribed ${!error}`)),
  });
}

function connect(where, password) {
  const it = new vsoa.Client(password && password !== '-' ? { passwd: password } : {});
  it.on('error', () => {});
  it.connect(address(where), (error, info) => {
    say(error ? `refused ${error.status}` : `connected ${JSON.stringify(info)}`);
    process.exit(0);
  });
}

function position(port) {
  const table = new Map();
  const it = new vsoa.Position([], { domain: vsoa.AF_INET, addr: '127.0.0.1', port: Number(port) });
  it.onquery = (name, domain, answer) => answer(table.get(name));
  it.start((error) => {
    if (error) throw error;
    say(`port ${port}`);
  });
  commands({
    place: (name, addr, where) => {
      const domain = addr.includes(':') ? vsoa.AF_INET6 : vsoa.AF_INET;
      table.set(name, { name, domain, addr, port: Number(where), security: false });
      say('placed');
    },
    remove: (name) => {
      table.delete(name);
      say('removed');
    },
  });
}

function lookup(name) {
  vsoa.lookup(name, (error, found) => {
    say(error || !found ? 'not found' : `found ${found.addr} ${found.port}`);
    process.exit(0);
  });
}

const modes = { server, client, connect, position, lookup };
modes[process.argv[2]](...process.argv.slice(3));
