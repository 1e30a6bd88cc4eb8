// Calls over networks that lose, narrow and block: the customer is behind a link of ours, the operator is not. What
// is promised is in docs/media.md.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** Both sides' figures over the same time. */
async function both(call, ms) {
  const [customer, operator] = await Promise.all([call.customer.measures(ms), call.operator.measures(ms)]);
  return { customer, operator };
}

/** Share of the frames sent by `from` that `to` decoded. */
const delivered = (from, to) => to.received.frames / from.sent.frames;

scenario('5 % loss keeps the picture, 10 % the sound, 30 % the call, and the customer is told', async (stage) => {
  const call = await stage.callInProgress();
  stage.network.set('both', { delay: 20, loss: 5 });
  await call.customer.measures(3000);
  const five = await both(call, 8000);
  for (const [way, from, to] of [['up', five.customer, five.operator], ['down', five.operator, five.customer]]) {
    assert.ok(delivered(from, to) >= 0.95, `${way}: ${to.received.frames} of ${from.sent.frames} frames at 5 % loss`);
    assert.ok(to.received.concealedShare < 0.05, `${way}: ${to.received.concealedShare} of the sound concealed at 5 % loss`);
  }
  stage.network.set('both', { loss: 10 });
  const ten = await both(call, 6000);
  for (const [way, to] of [['up', ten.operator], ['down', ten.customer]]) {
    assert.ok(to.received.concealedShare < 0.1, `${way}: ${to.received.concealedShare} of the sound concealed at 10 % loss`);
  }
  await call.operator.hears(call.customer.person.tone);
  await call.customer.hears(call.operator.person.tone);
  stage.network.set('both', { loss: 30 });
  await until('the customer is told of the bad connection', async () => (await call.customer.tab.info('quality'))?.attributes['data-level'] === 'poor', {
    timeout: 25_000, describe: () => call.customer.tab.info('quality'),
  });
  await call.operator.keepsMoving();
  assert.equal((await call.customer.tab.state()).state, 'active');
  assert.equal((await call.operator.tab.state()).state, 'active');
}, { network: true });

scenario('3 to 0.3 to 3 Mbit/s: the sound never stops and the picture recovers to 80 % within 10 s', async (stage) => {
  const call = await stage.callInProgress({ busy: true });
  stage.network.set('both', { delay: 20, rate: 3000, queue: 200 });
  await until('both pictures have reached their rate', async () => {
    const { customer, operator } = await both(call, 2000);
    return customer.received.videoBps > 900_000 && operator.received.videoBps > 900_000;
  }, { timeout: 40_000, describe: async () => {
    const { customer, operator } = await both(call, 2000);
    return [customer.received.videoBps, operator.received.videoBps];
  } });
  const full = await both(call, 3000);
  await call.customer.listens();
  await call.operator.listens();
  stage.network.set('both', { rate: 300 });
  await call.customer.measures(4000);
  const narrow = await both(call, 8000);
  for (const [way, figures] of Object.entries(narrow)) {
    assert.ok(figures.received.concealedShare < 0.1, `${way}: ${figures.received.concealedShare} of the sound concealed in 0.3 Mbit/s`);
  }
  stage.network.set('both', { rate: 3000 });
  await call.customer.measures(8000);
  const back = await both(call, 2000);
  for (const way of ['customer', 'operator']) {
    const [before, now] = [full[way].received.videoBps, back[way].received.videoBps];
    assert.ok(now >= 0.8 * before, `${way}: ${Math.round(now)} of ${Math.round(before)} bit/s within 10 s`);
    assert.ok((await call[way].longestSilence()) < 1500, `${way}: sound stood still for ${await call[way].longestSilence()} ms`);
  }
}, { network: true });

scenario('without UDP the call goes over TCP', async (stage) => {
  await stage.network.blockUdp(true);
  const call = await stage.callInProgress();
  const route = await call.customer.route();
  assert.ok(route.protocol === 'tcp' || route.type === 'relay', JSON.stringify(route));
  await call.operator.keepsMoving();
  await call.customer.keepsMoving();
}, { network: true });

for (const engine of /** @type {const} */ (['chromium', 'firefox'])) {
  scenario(`${engine}: a router that forgets its mapping costs at most a second of sound`, async (stage) => {
    const call = await stage.callInProgress({ customer: ['anna', engine] });
    await call.customer.listens();
    await call.operator.listens();
    await stage.network.rebind();
    await call.operator.keepsMoving({ frames: 40 });
    for (const side of [call.customer, call.operator]) {
      const silence = await side.longestSilence();
      assert.ok(silence < 1000, `${side.person.name} heard nothing for ${silence} ms`);
    }
    await call.customer.meets(call.operator.person);
    await call.operator.meets(call.customer.person);
  }, { network: true });

  scenario(`${engine}: the change to another network costs at most a second of sound`, async (stage) => {
    const call = await stage.callInProgress({ customer: ['anna', engine] });
    await call.customer.listens();
    await call.operator.listens();
    await stage.network.changeNetwork();
    await call.operator.keepsMoving({ frames: 40 });
    for (const side of [call.customer, call.operator]) {
      const silence = await side.longestSilence();
      assert.ok(silence < 1000, `${side.person.name} heard nothing for ${silence} ms`);
    }
    await call.customer.meets(call.operator.person);
    await call.operator.meets(call.customer.person);
  }, { network: true });
}

scenario('a pulled cable is told to both sides and the call goes on when it is back', async (stage) => {
  const call = await stage.callInProgress();
  const pulled = performance.now();
  stage.network.cut();
  await call.customer.shows('reconnecting', /./, { timeout: 8000 });
  await call.operator.shows('link-lost', /./, { timeout: 12_000 });
  const toldAfter = performance.now() - pulled;
  assert.ok(toldAfter < 8000, `the operator was told after ${Math.round(toldAfter)} ms`);
  stage.network.mend();
  await call.customer.meets(call.operator.person);
  await call.operator.meets(call.customer.person);
  await call.operator.hides('link-lost');
}, { network: true });
