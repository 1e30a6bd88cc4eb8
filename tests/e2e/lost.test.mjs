// Somebody who does not come back: the other one is not left in a dead call.
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

scenario('operator does not come back: the customer waits again and meets the next operator', async (stage) => {
  const call = await stage.callInProgress();
  await call.operator.tab.close();
  // The place in the call is kept for 45 s.
  await call.customer.reaches('queued', { timeout: 75_000 });
  // The connection to the closed room is over before somebody else answers.
  const states = () => call.customer.tab.evaluate(() => window.ckTest.connections.map((one) => one.connectionState));
  await until('no connection of the customer is left', async () => (await states()).every((one) => one === 'closed' || one === 'new'), {
    timeout: 40_000, describe: states,
  });
  const next = await stage.operator('oleg');
  await next.accept();
  await call.customer.reaches('active');
  await call.customer.meets(next.person);
  await next.meets(call.customer.person);
});
