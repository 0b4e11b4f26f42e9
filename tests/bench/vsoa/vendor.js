// The vendor's package doing what rpc.c and publish.c do with ours.
//
//   vendor.js rpc-server PORT
//   vendor.js rpc-client PORT WINDOW WARM MS
//   vendor.js publish-server PORT SUBSCRIBERS RATE MS      RATE 0: bursts of 20 for each turn of the event loop
//   vendor.js publish-client PORT SUBSCRIBERS WARM RATE    with RATE 0 counts only, as its clock costs much
'use strict';

const vsoa = require(process.env.BENCH_PACKAGE);

const kData = 64, kBurst = 20, kLeast = 100, kPublishedData = Buffer.alloc(kData);
const clock = () => Number(process.hrtime.bigint());
const address = (port) => ({ domain: vsoa.AF_INET, addr: '127.0.0.1', port: Number(port) });
const check = (error) => {
  if (error) throw error;
};

class Samples {
  constructor(warm, measured) {
    this.at = new Float64Array(4000000);
    this.count = 0;
    this.from = clock() + warm * 1e6;
    this.until = this.from + measured * 1e6;
  }
  add(began, ended) {
    if (began < this.from || this.count === this.at.length) return;
    if (this.count === 0) this.first = began;
    this.last = ended;
    this.at[this.count++] = ended - began;
  }
  say(lost) {
    if (this.count === 0) throw new Error('nothing was measured');
    const sorted = this.at.subarray(0, this.count).sort();
    const percentile = (p) => sorted[Math.floor((this.count * p) / 100)] / 1000;
    say({ rate: (this.count * 1e9) / (this.last - this.first), p50: percentile(50), p99: percentile(99),
      count: this.count, lost });
  }
}

const say = (result) => process.stdout.write(JSON.stringify(result) + '\n', () => process.exit(0));

function startServer(port, ready) {
  const server = new vsoa.Server({ info: { name: 'bench' } });
  ready(server);
  server.start(address(port), undefined, (error) => {
    check(error);
    process.stdout.write(`port ${port}\n`);
  });
}

function rpcServer(port) {
  startServer(port, (server) => {
    server.on('/echo', (client, request, payload) => client.reply(0, request.seqno, { data: payload.data }));
  });
}

function rpcClient(port, window, warm, measured) {
  const client = new vsoa.Client({});
  client.on('error', check);
  client.connect(address(port), (error) => {
    check(error);
    const samples = new Samples(Number(warm), Number(measured));
    const data = Buffer.alloc(kData);
    let open = 0;
    const call = () => {
      const began = clock();
      ++open;
      client.call('/echo', { method: 'GET' }, { data }, (refused, payload) => {
        check(refused);
        if (payload.data.length !== kData) throw new Error('the answer is not what was sent');
        const ended = clock();
        samples.add(began, ended);
        --open;
        if (ended < samples.until) call();
        else if (open === 0) samples.say(0);
      }, 10000);
    };
    for (let i = 0; i < Number(window); ++i) call();
  });
}

function publishServer(port, subscribers, rate, duration) {
  const clients = new Set();
  let number = 0;
  const publish = (server, at, total) => {
    kPublishedData.writeUInt32LE(++number, 0);
    if (at !== undefined) kPublishedData.writeBigInt64LE(at, 8);
    kPublishedData.writeUInt32LE(total, 16);
    server.publish('/t', { data: kPublishedData });
  };
  const finish = (server) => {
    publish(server, undefined, number);
    server.onclient = (client, connect) => {
      if (!connect) clients.delete(client);
      if (clients.size === 0) process.exit(0);
    };
  };
  const flood = (server, until) => {
    for (let i = 0; i < kBurst; ++i) publish(server, undefined, 0);
    Date.now() < until || number < kLeast ? setImmediate(flood, server, until) : finish(server);
  };
  const paced = (server, began, until) => {
    // Timers have whole milliseconds: what is due by now is published.
    const now = process.hrtime.bigint();
    while (number < (Number(now - began) * Number(rate)) / 1e9) publish(server, process.hrtime.bigint(), 0);
    Date.now() < until || number < kLeast ? setTimeout(paced, 1, server, began, until) : finish(server);
  };
  startServer(port, (server) => {
    server.onclient = (client, connect) => (connect ? clients.add(client) : clients.delete(client));
    const wait = () => {
      const ready = [...clients].filter((client) => client.isSubscribed('/t')).length;
      if (ready < Number(subscribers)) return setTimeout(wait, 1);
      const until = Date.now() + Number(duration);
      Number(rate) > 0 ? paced(server, process.hrtime.bigint(), until) : flood(server, until);
    };
    wait();
  });
}

function publishClient(port, subscribers, warm, rate) {
  const samples = new Samples(Number(warm), 0);
  const timed = Number(rate) > 0;
  let open = Number(subscribers), lost = 0, count = 0, first, before = 0;
  const finish = () => {
    if (timed) return samples.say(lost);
    say({ rate: ((count - before) * 1e9) / (clock() - first), count: count - before, lost });
  };
  for (let i = 0; i < Number(subscribers); ++i) {
    const client = new vsoa.Client({});
    client.on('error', check);
    let last = 0;
    client.on('message', (url, { data }) => {
      const number = data.readUInt32LE(0), total = data.readUInt32LE(16);
      lost += number - last - 1;
      last = number;
      if (total > 0) {
        if (--open === 0) finish();
        return;
      }
      if (timed) return samples.add(Number(data.readBigInt64LE(8)), clock());
      // Every 64th message looks whether the warm-up is over.
      if (++count % 64 !== 0 || first !== undefined) return;
      const now = clock();
      if (now < samples.from) return;
      first = now;
      before = count;
    });
    client.connect(address(port), (error) => {
      check(error);
      client.subscribe('/t', check);
    });
  }
}

const modes = { 'rpc-server': rpcServer, 'rpc-client': rpcClient, 'publish-server': publishServer,
  'publish-client': publishClient };
modes[process.argv[2]](...process.argv.slice(3));
