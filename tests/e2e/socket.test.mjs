// A dropped WebSocket costs neither a line of chat nor a frame of the call.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

for (const [who, other] of [['customer', 'operator'], ['operator', 'customer']]) {
  scenario(`${who}'s WebSocket drops: no chat line is lost and the call is not touched`, async (stage) => {
    const call = await stage.callInProgress();
    await call[who].says('one');
    await call[other].reads([['one', false]]);
    const before = await call[who].inbound();

    await call[who].dropSocket();
    // Written on both sides while the socket is down or just coming back.
    await call[other].says('two');
    await call[who].says('three');
    await call[who].signal('connected');

    const texts = async (page) => (await page.chat()).map((line) => line.text);
    for (const page of [call[who], call[other]]) {
      await until(`${page.person.name} has all three lines once`, async () => {
        const seen = await page.chat();
        return (
          seen.length === 3 &&
          ['one', 'two', 'three'].every((text) => seen.filter((line) => line.text.includes(text)).length === 1) &&
          seen.every((line) => !line.pending)
        );
      }, { describe: () => page.chat() });
    }
    assert.equal((await texts(call[who])).length, (await texts(call[other])).length);

    assert.equal((await call[who].tab.state()).connections, 1, 'the media connection is the same');
    assert.equal((await call[other].tab.state()).connections, 1);
    await until('frames went on', async () => (await call[who].inbound()).framesDecoded >= before.framesDecoded + 30);
    await call[who].meets(call[other].person);
    await call[other].meets(call[who].person);
  });
}

scenario('frames are decoded while the signaling is down', async (stage) => {
  const { customer } = await stage.callInProgress();
  const before = await customer.inbound();
  // Cut again as soon as it is back, until enough frames came in between.
  await until('two seconds of frames without a lasting socket', async () => {
    await customer.dropSocket();
    return (await customer.inbound()).framesDecoded >= before.framesDecoded + 60;
  }, { describe: () => customer.inbound() });
  assert.equal((await customer.tab.state()).connections, 1);
  await customer.signal('connected', { timeout: 30_000 });
  await customer.reaches('active');
});
