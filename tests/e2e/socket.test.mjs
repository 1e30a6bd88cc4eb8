// A dropped WebSocket costs neither a line of chat nor a frame of the call.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** Longer than what the test does meanwhile on a busy machine, much shorter than the window for a resume; the test ends it. */
const CUT_MS = 25_000;

for (const [who, other] of [['customer', 'operator'], ['operator', 'customer']]) {
  scenario(`${who}'s WebSocket drops: no chat line is lost and the call is not touched`, async (stage) => {
    const call = await stage.callInProgress();
    await call[who].says('one');
    await call[other].reads([['one', false]]);
    const connections = [await call.customer.mediaConnections(), await call.operator.mediaConnections()];
    const before = await call[who].inbound();

    await call[who].dropSocket({ forMs: CUT_MS });
    await call[who].signal('reconnecting');
    // Written on both sides while the socket is down.
    await call[other].says('two');
    await call[who].says('three');
    await until('frames go on while the socket is down', async () => {
      const { framesDecoded, audioPackets } = await call[who].inbound();
      return framesDecoded >= before.framesDecoded + 20 && audioPackets >= before.audioPackets + 20;
    }, { describe: () => call[who].inbound() });
    assert.equal((await call[who].tab.state()).signal, 'reconnecting', 'all this while the socket was down');
    await call[who].restoreSocket();

    await call[who].signal('connected');
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
    assert.deepEqual(
      [await call.customer.mediaConnections(), await call.operator.mediaConnections()],
      connections,
      'the media connections are the same',
    );
    assert.equal(await call[who].reaches('active'), 'active');
    await call[who].meets(call[other].person);
    await call[other].meets(call[who].person);
  });
}

scenario('a socket that drops again and again loses nothing', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  const lines = [];
  for (let round = 1; round <= 4; round++) {
    await customer.dropSocket();
    const text = `line ${round}`;
    await (round % 2 ? customer : operator).says(text);
    lines.push([text, round % 2 === 1]);
    await customer.signal('connected');
    await customer.reads(lines);
  }
  await operator.reads(lines.map(([text, mine]) => [text, !mine]));
});

scenario('operator whose socket drops while it rings still gets the call', async (stage) => {
  const operator = await stage.operator('irina');
  const customer = await stage.customer('anna');
  await customer.call();
  await operator.rings();
  await operator.dropSocket({ forMs: 500 });
  await operator.signal('connected');
  await operator.accept();
  await customer.reaches('active');
  await customer.meets(operator.person);
});
