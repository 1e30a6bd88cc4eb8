// Calls over networks that lose, block and change: the customer is behind a link of ours, the operator is not. How much
// is lost and how fast things recover is tested in virtual time (callkit-sfu/src/media/tests); here it is whether real
// browsers come through at all, on machines whose cores are busy with encoding.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { PATIENCE, until } from './lib/wait.mjs';

/** Silence beyond this is not an interruption but a lost connection that was made anew, milliseconds. */
const INTERRUPTION_MS = 5000 * PATIENCE;

scenario('10 % loss keeps the sound, 30 % the call, and the customer is told', async (stage) => {
  const call = await stage.callInProgress();
  stage.network.set('both', { delay: 20, loss: 10 });
  await call.operator.hears(call.customer.person.tone);
  await call.customer.hears(call.operator.person.tone);
  await call.operator.keepsMoving();
  await call.customer.keepsMoving();
  stage.network.set('both', { loss: 30 });
  await until('the customer is told of the bad connection', async () => (await call.customer.tab.info('quality'))?.attributes['data-level'] === 'poor', {
    timeout: 30_000, describe: () => call.customer.tab.info('quality'),
  });
  await call.operator.hears(call.customer.person.tone);
  assert.equal((await call.customer.tab.state()).state, 'active');
  assert.equal((await call.operator.tab.state()).state, 'active');
}, { network: true });

scenario('without UDP the call goes over TCP', async (stage) => {
  await stage.network.blockUdp(true);
  const call = await stage.callInProgress();
  const route = await call.customer.route();
  assert.ok(route.protocol === 'tcp' || route.type === 'relay', JSON.stringify(route));
  await call.operator.keepsMoving();
  await call.customer.keepsMoving();
}, { network: true });

/** Watches the sound of both while `happens`, and that both still meet afterwards. */
async function interrupted(call, happens) {
  await call.customer.listens();
  await call.operator.listens();
  await happens();
  await call.operator.keepsMoving({ frames: 30 });
  for (const side of [call.customer, call.operator]) {
    const silence = await side.longestSilence();
    assert.ok(silence < INTERRUPTION_MS, `${side.person.name} heard nothing for ${silence} ms`);
  }
  await call.customer.meets(call.operator.person);
  await call.operator.meets(call.customer.person);
}

for (const engine of /** @type {const} */ (['chromium', 'firefox'])) {
  scenario(`${engine}: a router that forgets its mapping, and then another network, interrupt the call only`, async (stage) => {
    const call = await stage.callInProgress({ customer: ['anna', engine] });
    await interrupted(call, () => stage.network.rebind());
    await interrupted(call, () => stage.network.changeNetwork());
    assert.equal((await call.operator.tab.state()).state, 'active');
  }, { network: true });
}

scenario('a pulled cable is told to both sides and the call goes on when it is back', async (stage) => {
  const call = await stage.callInProgress();
  stage.network.cut();
  await call.customer.shows('reconnecting', /./, { timeout: 8000 });
  await call.operator.shows('link-lost', /./, { timeout: 8000 });
  stage.network.mend();
  await call.customer.meets(call.operator.person);
  await call.operator.meets(call.customer.person);
  await call.operator.hides('link-lost');
}, { network: true });
