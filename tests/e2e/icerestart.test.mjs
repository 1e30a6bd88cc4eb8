// An ICE restart in mid-call: new credentials and, if need be, another path, on the same connection. Nobody notices.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** Credentials of both sides and the state of the connection in use. */
const path = (page) => page.tab.evaluate(() => {
  const pc = window.callkitDebug.pc();
  const ufrag = (description) => /a=ice-ufrag:(\S+)/.exec(description?.sdp ?? '')?.[1] ?? null;
  return { mine: ufrag(pc.currentLocalDescription), theirs: ufrag(pc.currentRemoteDescription), signaling: pc.signalingState, state: pc.connectionState };
});

for (const engine of ['chromium', 'firefox']) {
  scenario(`${engine}: the network changes in mid-call and the same connection goes on over a restarted path`, async (stage) => {
    const { customer, operator } = await stage.callInProgress({ customer: ['anna', engine] });
    const before = await path(customer);
    const connections = await customer.mediaConnections();
    await customer.tab.evaluate(() => window.callkitDebug.client.media.networkChanged());
    await until('both sides have new credentials', async () => {
      const now = await path(customer);
      return now.signaling === 'stable' && now.mine !== before.mine && now.theirs !== before.theirs;
    }, { describe: () => path(customer) });
    await customer.keepsMoving({ frames: 30 });
    await operator.keepsMoving({ frames: 30 });
    await customer.meets(operator.person);
    await operator.meets(customer.person);
    assert.deepEqual(await customer.mediaConnections(), connections);
    assert.equal(await customer.reaches('active'), 'active');
  });
}
