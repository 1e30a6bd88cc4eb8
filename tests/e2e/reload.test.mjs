// A page that is reloaded is back where it was, without a click.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';

scenario('customer reloads in the queue: the place is kept', async (stage) => {
  const anna = await stage.customer('anna');
  await anna.queues();
  const boris = await stage.customer('boris');
  await boris.queues();
  await boris.place(2);
  await anna.tab.reload();
  await anna.reaches('queued');
  await anna.place(1);
  await boris.place(2);
  const operator = await stage.operator('irina');
  assert.equal((await operator.rings()).name, 'Anna');
});

scenario('customer reloads in the call: both see and hear each other again, the chat is kept', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await customer.says('before the reload');
  await operator.reads([['before the reload', false]]);
  await customer.tab.reload();
  await customer.reaches('active', { timeout: 30_000 });
  await customer.meets(operator.person);
  await operator.keepsMoving();
  await operator.meets(customer.person);
  await customer.reads([['before the reload', true]]);
  await operator.says('after the reload');
  await customer.reads([['before the reload', true], ['after the reload', false]]);
});

scenario('operator reloads in the call: both see and hear each other again, the chat is kept', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await operator.says('before the reload');
  await customer.reads([['before the reload', false]]);
  await operator.tab.reload();
  await operator.reaches('active', { timeout: 30_000 });
  await operator.meets(customer.person);
  await customer.keepsMoving();
  await customer.meets(operator.person);
  await operator.reads([['before the reload', true]]);
  await operator.hangUp();
  assert.equal(await customer.ended(), 'agent');
});
