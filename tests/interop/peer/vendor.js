// The vendor's package behind the line protocol of peer.h.
'use strict';

const fs = require('fs');
const net = require('net');
const readline = require('readline');
const vsoa = require(process.env.INTEROP_PACKAGE);

// Its own limits (100 ms in a client, 500 ms in a server) end the connection when this machine is busy for as long.
const kSend_ms = 5000;
const kKeepalive_ms = 1000, kPatience_ms = 5000, kImpatience_ms = 300, kConnect_ms = 2000, kRetry_ms = 100;

const say = (...fields) => process.stdout.write(fields.join('\t').replace(/\t+$/, '') + '\n');

function pattern(count) {
  const bytes = Buffer.alloc(count);
  for (let i = 0; i < count; ++i) bytes[i] = i * 7 + Math.floor(i / 256);
  return bytes;
}

function message(param, data) {
  const out = {};
  if (param) out.param = JSON.parse(param);
  if (data) out.data = pattern(Number(data));
  return out;
}

function fields(payload) {
  const { param, data } = payload ?? {};
  const text = param === undefined ? '' : JSON.stringify(param);
  if (!data || data.length === 0) return [text];
  return [text, (pattern(data.length).equals(data) ? '' : 'broken ') + data.length];
}

// What the environment says about TLS, for a server or a client; undefined: nothing.
function tlsOptions(server) {
  const { INTEROP_CERT: own, INTEROP_CA: ca, INTEROP_KEYS: keys } = process.env;
  if (!own && !ca && !keys) return undefined;
  const options = {};
  if (own) Object.assign(options, { cert: fs.readFileSync(`${own}.pem`), key: fs.readFileSync(`${own}.key`) });
  if (server && ca) Object.assign(options, { ca: fs.readFileSync(ca), requestCert: true, rejectUnauthorized: true });
  if (server && keys) {
    const known = new Map(fs.readFileSync(keys, 'utf8').trim().split('\n').map((line) => line.split(':')));
    options.pskCallback = (socket, identity) => known.has(identity) ? Buffer.from(known.get(identity), 'hex') : null;
  }
  return options;
}

function commands(table) {
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const [name, ...words] = line.split('\t');
    table[name](...words);
  });
  lines.on('close', () => process.exit(0));
}

function address(where) {
  const [, v6, v4, port] = /^(?:\[(.*)\]|([0-9.]+)):([0-9]+)$/.exec(where) ?? [];
  if (port === undefined) return where.startsWith('vsoa://') ? where : `vsoa://${where}`;
  return { domain: v6 ? vsoa.AF_INET6 : vsoa.AF_INET, addr: v6 ?? v4, port: Number(port) };
}

function streaming(url) {
  const [, , up, down, side] = url.split('/');
  return { up: Number(up), down: Number(down), clientEnds: side === 'client' };
}

// Sends and receives so many bytes at the same time, then ends the stream or waits for the peer to. It writes only once
// connected: what is written to the vendor's server stream before that is lost, and all that is written later.
function exchange(stream, sends, receives, ends) {
  const expected = pattern(receives);
  let received = 0, written = false, good = true;
  const whole = () => written && received === receives;
  const step = () => ends && whole() && stream.end();
  stream.on('data', (bytes) => {
    good = good && bytes.equals(expected.subarray(received, received + bytes.length));
    received += bytes.length;
    step();
  });
  stream.on('connect', () => {
    const done = () => {
      written = true;
      step();
    };
    sends ? stream.write(pattern(sends), done) : done();
  });
  stream.on('error', () => (good = false));
  stream.on('close', () => say('stream', good && whole()));
}

function server(where, password) {
  const options = { info: { name: 'interop' } };
  if (password) options.passwd = password;
  const it = new vsoa.Server(options);
  it.sendTimeout(kSend_ms);
  const clients = new Set();
  const held = [];
  it.onclient = (client, connect) => {
    connect ? clients.add(client) : clients.delete(client);
    if (connect) client.setKeepAlive(kKeepalive_ms);
    say(connect ? 'client up' : 'client down');
  };
  it.ondata = (client, url, p, quick) => say('datagram', quick ? 'quick' : 'tcp', url, ...fields(p));
  it.on('/echo', (client, request, p) => client.reply(0, request.seqno, p));
  it.on('/method', (client, request) => client.reply(0, request.seqno, { param: { method: request.method } }));
  it.on('/status', (client, request) => client.reply(200, request.seqno, { param: { why: 'asked' } }));
  // The vendor's server takes the first that fits, so the longer one has to come first.
  for (const by of ['/below/deeper/', '/below/']) {
    it.on(by, (client, request) => client.reply(0, request.seqno, { param: { url: request.url, by } }));
  }
  it.on('/hold', (client, request) => held.push([client, request.seqno]));
  it.on('/stream/', (client, request) => {
    const { up, down, clientEnds } = streaming(request.url);
    const stream = it.createStream();
    say('offered', stream.tunid);
    exchange(stream, down, up, !clientEnds);
    client.reply(0, request.seqno, stream.tunid);
  });
  it.start(address(where), tlsOptions(true), (error) => {
    if (error) throw error;
    say('port', it.address().port);
  });
  commands({
    publish: (url, ...words) => it.publish(url, message(...words)),
    'quick-publish': (url, ...words) => it.publish(url, message(...words), true),
    datagram: (url, ...words) => clients.forEach((c) => c.datagram(url, message(...words))),
    'quick-datagram': (url, ...words) => clients.forEach((c) => c.datagram(url, message(...words), true)),
    priority: (n) => clients.forEach((c) => c.priority(Number(n))),
    release: () => {
      while (held.length) {
        const [client, seqno] = held.pop();
        client.reply(0, seqno, { param: { held: held.length } });
      }
    },
  });
}

// What a program does with a connected client of the vendor's; current() gives the client.
function talk(current) {
  const called = (error, p) => {
    if (error && error.status === undefined) return say('reply', 'none');
    say('reply', error ? error.status : 0, ...fields(p));
  };
  const call = (method, limit) => (url, ...words) => current().call(url, { method }, message(...words), called, limit);
  const subscribed = (error) => say('subscribed', !error);
  const unsubscribed = (error) => say('unsubscribed', !error);
  commands({
    get: call('GET', kPatience_ms),
    set: call('SET', kPatience_ms),
    impatient: call('GET', kImpatience_ms),
    ping: () => current().ping((error) => say('pong', !error), kPatience_ms),
    datagram: (url, ...words) => current().datagram(url, message(...words)),
    'quick-datagram': (url, ...words) => current().datagram(url, message(...words), true),
    subscribe: (url) => current().subscribe(url, subscribed, kPatience_ms),
    'subscribe-all': (...urls) => current().subscribe(urls, subscribed, kPatience_ms),
    unsubscribe: (url) => current().unsubscribe(url, unsubscribed, kPatience_ms),
    'unsubscribe-all': (...urls) => current().unsubscribe(urls, unsubscribed, kPatience_ms),
    stream: (url) => {
      const { up, down, clientEnds } = streaming(url);
      current().call(url, { method: 'GET' }, {}, (error, p, tunnel) => {
        if (error || !tunnel) return say('stream', false);
        exchange(current().createStream(tunnel), up, down, clientEnds);
      }, kPatience_ms);
    },
  });
}

const login = (password) => (password && password !== '-' ? { passwd: password } : {});

function listen(client) {
  client.sendTimeout(kSend_ms);
  client.on('message', (url, p, quick) => say('message', quick ? 'quick' : 'tcp', url, ...fields(p)));
  client.on('datagram', (url, p, quick) => say('datagram', quick ? 'quick' : 'tcp', url, ...fields(p)));
}

// The vendor's client does not connect again by itself and notices a server's end only by lost pings: both are the
// program's to do.
function client(where, password, ...urls) {
  const keepalive = Number(process.env.INTEROP_KEEPALIVE ?? 500);
  let it;
  const connect = () => {
    const now = new vsoa.Client({ ...login(password), pingInterval: keepalive, pingTimeout: keepalive, pingLost: 3 });
    it = now;
    let up = false;
    const again = () => {
      if (it !== now) return;
      it = undefined;
      now.close();
      if (up) say('down');
      setTimeout(connect, kRetry_ms);
    };
    now.on('error', again);
    listen(now);
    const connected = (info) => {
      up = true;
      say('up', JSON.stringify(info));
    };
    now.connect(address(where), (error, info) => {
      if (error) return again();
      if (!urls.length) return connected(info);
      now.subscribe(urls, (refused) => (refused ? again() : connected(info)), kConnect_ms);
    }, tlsOptions(false), kConnect_ms);
  };
  connect();
  talk(() => it);
}

// Without pings, as the package's own examples are.
function plain(where, password, ...urls) {
  const it = new vsoa.Client(login(password));
  it.on('error', () => say('down'));
  listen(it);
  it.connect(address(where), (error, info) => {
    if (error) throw error;
    const connected = () => say('up', JSON.stringify(info));
    urls.length ? it.subscribe(urls, connected) : connected();
  }, tlsOptions(false));
  talk(() => it);
}

function connect(where, password) {
  const it = new vsoa.Client(login(password));
  it.on('error', () => {});
  it.connect(address(where), (error, info) => {
    error ? say('refused', error.status ?? 'tls') : say('connected', JSON.stringify(info));
    process.exit(0);
  }, tlsOptions(false));
}

function position(where) {
  const table = new Map();
  const it = new vsoa.Position([], address(where));
  it.onquery = (name, domain, answer) => {
    const found = table.get(name.toLowerCase());
    answer(found && (domain === undefined || domain === found.domain) ? found : undefined);
  };
  it.start((error) => {
    if (error) throw error;
    say('port', it._adr.port);
  });
  commands({
    place: (name, at) => {
      table.set(name.toLowerCase(), { name, ...address(at), security: false });
      say('placed');
    },
    remove: (name) => {
      table.delete(name.toLowerCase());
      say('removed');
    },
  });
}

function lookup(name, domain) {
  vsoa.lookup(name, (error, found) => {
    const host = found && (net.isIPv6(found.addr) ? `[${found.addr}]` : found.addr);
    error || !found ? say('not found') : say('found', `${host}:${found.port}`);
    process.exit(0);
  }, domain && Number(domain));
}

const modes = { server, client, plain, connect, position, lookup };
modes[process.argv[2]](...process.argv.slice(3));
