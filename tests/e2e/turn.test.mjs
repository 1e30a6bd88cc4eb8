// Browsers that may use nothing but the embedded TURN server: over each of its transports, and never past it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { scenario } from './lib/scenario.mjs';
import { Server, binary } from './lib/server.mjs';

const PASSWORD = 'irina-demo';

/** A server with TURN on free ports, TLS with a certificate that it made itself. */
function withTurn() {
  const hash = execFileSync(binary(), ['hash-password'], { input: `${PASSWORD}\n` }).toString().trim().split('\n').at(-1);
  return Server.serve(({ data, mediaPort }) => {
    const [certificate, key] = ['turn.pem', 'turn.key'].map((name) => path.join(data, name));
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
      '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
    return [
      '[http]', 'port = 0', '[media]', `port = ${mediaPort}`, '[storage]', `path = ${JSON.stringify(path.join(data, 'store'))}`,
      '[turn]', 'mode = "embedded"', 'port = 0', 'host = "localhost"', 'tls_port = 0',
      `tls_certificate = ${JSON.stringify(certificate)}`, `tls_key = ${JSON.stringify(key)}`,
      '[[staff.users]]', 'id = "irina"', 'name = "Irina"', 'role = "operator"', `password_hash = ${JSON.stringify(hash)}`,
    ].join('\n');
  }, { passwords: { irina: PASSWORD } });
}

/** Lets the page use only those URLs of the servers it is told that match. */
function only(page, wanted) {
  return page.tab.evaluate((wanted) => {
    const narrowed = (configuration = {}) => ({
      ...configuration,
      iceServers: (configuration.iceServers ?? []).map((server) => ({ ...server, urls: server.urls.filter((url) => new RegExp(wanted).test(url)) })),
    });
    const Told = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Told {
      constructor(configuration) {
        super(narrowed(configuration));
      }

      setConfiguration(configuration) {
        super.setConfiguration(narrowed(configuration));
      }
    };
  }, wanted);
}

for (const [transport, wanted] of [['udp', '^turn:.*=udp$'], ['tcp', '^turn:.*=tcp$'], ['tls', '^turns:']]) {
  scenario(`chromium talks through the embedded TURN server over ${transport}`, async (stage) => {
    const operator = await stage.operator('irina');
    const customer = await stage.customer('anna', 'chromium', {
      query: '&relay=1', launch: { args: ['--ignore-certificate-errors'] },
    });
    await only(customer, wanted);
    await customer.call();
    await operator.accept();
    await customer.reaches('active');
    await customer.meets(operator.person);
    await operator.meets(customer.person);
    const route = await customer.route();
    assert.deepEqual([route.type, route.relay], ['relay', transport], JSON.stringify(route));
    await Promise.all([customer.keepsMoving({ frames: 20 }), operator.keepsMoving({ frames: 20 })]);
  }, { serve: withTurn });
}
