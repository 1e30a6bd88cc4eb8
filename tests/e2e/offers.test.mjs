// An operator who does not take a call leaves it to the next one.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

/** Which of the operators is rung now. */
const rung = (operators) =>
  until('somebody is offered the call', async () => {
    for (const page of operators) if ((await page.tab.info('offer'))?.shown) return page;
    return null;
  });

scenario('a declined call goes to the other operator at once', async (stage) => {
  const operators = [await stage.operator('irina'), await stage.operator('oleg')];
  const customer = await stage.customer('anna');
  await customer.call();
  const first = await rung(operators);
  const second = operators.find((page) => page !== first);
  await first.tab.click('decline');
  await second.rings({ timeout: 5_000 });
  await first.hides('offer');
  await second.accept();
  await customer.reaches('active');
  await customer.meets(second.person);
  await second.meets(customer.person);
  assert.equal((await first.tab.state()).state, 'available', 'who declined stays on shift');
});

scenario('a missed call goes to the other operator when its seconds are over', async (stage) => {
  const operators = [await stage.operator('irina'), await stage.operator('oleg')];
  const customer = await stage.customer('anna');
  await customer.call();
  const first = await rung(operators);
  const second = operators.find((page) => page !== first);
  const { seconds } = await first.rings();
  await second.rings({ timeout: (seconds + 10) * 1000 });
  await first.hides('offer');
  await second.accept();
  await customer.reaches('active');
  await customer.meets(second.person);
});
