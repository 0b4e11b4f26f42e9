// The look-up of one side at the position server of the other.
'use strict';

const { freePort, kInfo, local, Peer, startClient, startPosition, startServer } = require('./harness.js');

const kV4 = 2, kV6 = 10;

async function finds(client, where, words, ...answer) {
  const once = new Peer(client, ['lookup', ...words], { environment: { VSOA_POS_SERVER: where } });
  await once.says(...answer);
  await once.ended;
}

const known = async (d, where, client) => {
  await d.ask(['place', 'axis_server', '127.0.0.1:3002'], 'placed');
  await d.ask(['place', 'other', '10.1.2.3:65534'], 'placed');
  await finds(client, where, ['axis_server'], 'found', '127.0.0.1:3002');
  await finds(client, where, ['other'], 'found', '10.1.2.3:65534');
};

const cases = {
  'names are found': known,
  'a name is found in any case': async (d, where, client) => {
    await d.ask(['place', 'Axis_Server', '127.0.0.1:3002'], 'placed');
    await finds(client, where, ['aXIS_sERVER'], 'found', '127.0.0.1:3002');
  },
  'an IPv6 address is found': async (d, where, client) => {
    await d.ask(['place', 'six', '[fd00::1]:3002'], 'placed');
    await finds(client, where, ['six'], 'found', '[fd00::1]:3002');
  },
  'the family asked for decides': async (d, where, client) => {
    await d.ask(['place', 'six', '[fd00::1]:3002'], 'placed');
    await d.ask(['place', 'four', '10.1.2.3:3002'], 'placed');
    // The package asks from a socket of the family wanted, so over IPv4 it cannot ask for IPv6.
    await finds(client, where, ['four', kV4], 'found', '10.1.2.3:3002');
    await finds(client, where, ['six', kV4], 'not found');
    if (client.name === 'our') await finds(client, where, ['six', kV6], 'found', '[fd00::1]:3002');
  },
  'an unknown name is not found, nor one that was removed': async (d, where, client) => {
    await known(d, where, client);
    await finds(client, where, ['nobody'], 'not found');
    await d.ask(['remove', 'other'], 'removed');
    await finds(client, where, ['other'], 'not found');
    await finds(client, where, ['axis_server'], 'found', '127.0.0.1:3002');
  },
  'the second server is asked when the first is dead': async (d, where, client) => {
    await d.ask(['place', 'axis_server', '127.0.0.1:3002'], 'placed');
    const dead = local(await freePort({ udp: true }));
    await finds(client, `${dead},${where}`, ['axis_server'], 'found', '127.0.0.1:3002');
  },
};

// The name in a URL, the port behind it without meaning.
async function connects(d, where, client, server) {
  const [, at] = await startServer(server, '123456');
  await d.ask(['place', 'axis_server', at], 'placed');
  for (const url of ['axis_server', 'axis_server:1']) {
    const c = startClient(client, 'client', url, '123456', ['/axis'], { environment: { VSOA_POS_SERVER: where } });
    await c.says('up', kInfo);
  }
}

function positions(directory, client) {
  return [
    ...Object.entries(cases),
    ['a client connects to a name', (d, where) => connects(d, where, client, directory)],
  ].map(([name, run]) => [
    `${client.name} look-up, ${directory.name} position server: ${name}`,
    async () => {
      const [d, where] = await startPosition(directory);
      await run(d, where, client);
    },
  ]);
}

module.exports = { positions };
