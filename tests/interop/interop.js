// Interoperability with the vendor: our programs and the vendor's speak the same line protocol (peer/peer.h), so every
// case runs with the vendor's client and our server, and the other way round.
//
//   node interop.js SUITE [TEXT]    TEXT: only cases whose names have it
'use strict';

const { ours, runCases, vendors } = require('./harness.js');
const { handshakes, logins, messages } = require('./messages.js');
const { reconnects } = require('./reconnect.js');
const { cuts } = require('./cut.js');
const { positions } = require('./position.js');
const { defects } = require('./defects.js');

const kOurClient = { client: ours, server: vendors };
const kVendorClient = { client: vendors, server: ours };
const kPassword = '123456';

// What a connection is made with: every message case runs on each of them.
const kLinks = [
  { name: 'no password' },
  { name: 'password', password: kPassword },
  {
    name: 'password, TLS with certificates of both',
    password: kPassword,
    tls: { server: { own: 'server', trusts: 'ca' }, client: { own: 'client', trusts: 'ca' } },
  },
];

const pair = (pairing, links) => [...logins(pairing), ...handshakes(pairing), ...links.flatMap((link) => messages(pairing, link))];

const suites = {
  'our-client': () =>
    pair(kOurClient, [
      ...kLinks,
      { name: "password, the program's own loop", password: kPassword, mode: 'plain' },
      { name: 'password, IPv6', password: kPassword, host: '::1' },
    ]),
  'vendor-client': () => pair(kVendorClient, [...kLinks, { name: 'password, IPv6', password: kPassword, host: '::1' }]),
  'our-client-reconnects': () => reconnects(kOurClient),
  'vendor-client-reconnects': () => reconnects(kVendorClient),
  'our-client-cut': () => cuts(kOurClient),
  'vendor-client-cut': () => cuts(kVendorClient),
  position: () => [...positions(ours, vendors), ...positions(vendors, ours)],
  defects,
};

async function main(suite, text = '') {
  const cases = suites[suite]().filter(([name]) => name.includes(text));
  const failed = await runCases(cases);
  console.log(`${cases.length - failed} of ${cases.length} cases`);
  process.exit(failed ? 1 : 0);
}

main(...process.argv.slice(2));
