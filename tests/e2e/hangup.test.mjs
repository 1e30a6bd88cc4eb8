// Either side ends the call, both are told why, and both can go on.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';

scenario('operator hangs up: the customer is told and may call again', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await operator.hangUp();
  assert.equal(await customer.ended(), 'agent');
  await operator.reaches('available');

  await customer.tab.click('again');
  await operator.accept();
  await customer.reaches('active');
  await operator.meets(customer.person);
  await customer.meets(operator.person);
});

scenario('customer hangs up: the operator is told and is available again', async (stage) => {
  const { customer, operator } = await stage.callInProgress();
  await customer.hangUp();
  assert.equal(await customer.ended(), 'customer');
  await operator.reaches('available');
  const told = await operator.tab.info('ended');
  assert.equal(told?.attributes['data-reason'], 'customer', 'the console tells why the call ended');
});

scenario('customer leaves the queue: nobody is rung and the place is free', async (stage) => {
  const anna = await stage.customer('anna');
  await anna.queues();
  const boris = await stage.customer('boris');
  await boris.queues();
  await boris.place(2);
  await anna.tab.click('leave');
  await anna.reaches('ended', 'idle');
  await boris.place(1);
  const operator = await stage.operator('irina');
  assert.equal((await operator.rings()).name, 'Boris');
});

scenario('customer leaves while it rings: the card goes away and the operator stays available', async (stage) => {
  const operator = await stage.operator('irina');
  const customer = await stage.customer('anna');
  await customer.call();
  await operator.rings();
  await customer.tab.click('leave');
  await operator.hides('offer');
  await operator.reaches('available');
  await operator.presence('available');
});
