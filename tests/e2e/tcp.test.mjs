// Pages that are told of no way but TCP, against a server without relay: media goes over TCP, straight to the server.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { scenario } from './lib/scenario.mjs';
import { Server, binary } from './lib/server.mjs';

const PASSWORD = 'irina-demo';

function withoutRelay() {
  const hash = execFileSync(binary(), ['hash-password'], { input: `${PASSWORD}\n` }).toString().trim().split('\n').at(-1);
  return Server.serve(({ data, mediaPort }) => [
    '[http]', 'port = 0', '[media]', `port = ${mediaPort}`, '[storage]', `path = ${JSON.stringify(path.join(data, 'store'))}`,
    '[[staff.users]]', 'id = "irina"', 'name = "Irina"', 'role = "operator"', `password_hash = ${JSON.stringify(hash)}`,
  ].join('\n'), { passwords: { irina: PASSWORD } });
}

/** Takes the UDP candidates out of what the server answers. */
function onlyTcp(page) {
  return page.tab.evaluate(() => {
    const told = RTCPeerConnection.prototype.setRemoteDescription;
    RTCPeerConnection.prototype.setRemoteDescription = function (description) {
      const sdp = description.sdp.replaceAll(/a=candidate:\S+ 1 udp .*\r\n/g, '');
      return told.call(this, { type: description.type, sdp });
    };
  });
}

for (const engine of ['chromium', 'firefox']) {
  scenario(`${engine} talks over TCP with a chromium that uses UDP`, async (stage) => {
    const operator = await stage.operator('irina');
    const customer = await stage.customer('anna', engine);
    await onlyTcp(customer);
    await customer.call();
    await operator.accept();
    await customer.reaches('active');
    await customer.meets(operator.person);
    await operator.meets(customer.person);
    const [over, straight] = [await customer.route(), await operator.route()];
    assert.equal(over.protocol, 'tcp', JSON.stringify(over));
    assert.equal(straight.protocol, 'udp', JSON.stringify(straight));
    await Promise.all([customer.keepsMoving({ frames: 20 }), operator.keepsMoving({ frames: 20 })]);
  }, { serve: withoutRelay });
}
