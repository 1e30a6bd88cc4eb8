// The server is killed (kill -9) and started again on the same data. Nobody clicks anything.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';

/** Pages retry for ever, with pauses that grow to a few seconds. */
const BACK_TIMEOUT_MS = 45_000;

scenario('killed in mid-queue: both waiting customers keep their places', async (stage) => {
  const anna = await stage.customer('anna');
  await anna.queues();
  const boris = await stage.customer('boris');
  await boris.queues();
  await boris.place(2);

  await stage.server.kill();
  await Promise.all([anna.signal('reconnecting'), boris.signal('reconnecting')]);
  await stage.server.run();
  await Promise.all([
    anna.signal('connected', { timeout: BACK_TIMEOUT_MS }),
    boris.signal('connected', { timeout: BACK_TIMEOUT_MS }),
  ]);
  await anna.reaches('queued');
  await anna.place(1);
  await boris.place(2);

  const operator = await stage.operator('irina');
  assert.equal((await operator.rings()).name, 'Anna');
  await operator.accept();
  await anna.meets(operator.person);
  await operator.meets(anna.person);
});

scenario('killed in mid-call: the two are back together, with sound, picture and chat', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await customer.says('before the crash');
  await operator.reads([['before the crash', false]]);

  await stage.server.kill();
  await Promise.all([customer.signal('reconnecting'), operator.signal('reconnecting')]);
  await stage.server.run();
  await Promise.all([
    customer.signal('connected', { timeout: BACK_TIMEOUT_MS }),
    operator.signal('connected', { timeout: BACK_TIMEOUT_MS }),
  ]);
  await Promise.all([
    customer.reaches('active', { timeout: BACK_TIMEOUT_MS }),
    operator.reaches('active', { timeout: BACK_TIMEOUT_MS }),
  ]);
  await Promise.all([
    customer.keepsMoving({ timeout: BACK_TIMEOUT_MS }),
    operator.keepsMoving({ timeout: BACK_TIMEOUT_MS }),
  ]);
  await customer.meets(operator.person);
  await operator.meets(customer.person);

  await operator.says('after the crash');
  await customer.reads([['before the crash', true], ['after the crash', false]]);
  await customer.hangUp();
  await operator.reaches('available');
});
