// The same call with Firefox on either side or on both.
import { scenario } from './lib/scenario.mjs';

const chat = async (customer, operator) => {
  await customer.says('Здравствуйте');
  await operator.reads([['Здравствуйте', false]]);
  await operator.says('Добрый день');
  await customer.reads([['Здравствуйте', true], ['Добрый день', false]]);
};

scenario('firefox operator and chromium customer see, hear and read each other', async (stage) => {
  const { customer, operator } = await stage.callInProgress({ operator: ['irina', 'firefox'] });
  await chat(customer, operator);
  await operator.hangUp();
  await customer.ended();
});

scenario('chromium operator and firefox customer see, hear and read each other', async (stage) => {
  const { customer, operator } = await stage.callInProgress({ customer: ['anna', 'firefox'] });
  await chat(customer, operator);
  await customer.hangUp();
  await operator.reaches('available');
});

scenario('firefox operator and firefox customer see, hear and read each other', async (stage) => {
  const { customer, operator } = await stage.callInProgress({
    customer: ['anna', 'firefox'],
    operator: ['irina', 'firefox'],
  });
  await chat(customer, operator);
  await operator.hangUp();
  await customer.ended();
});

scenario('firefox operator is back in the call after a reload', async (stage) => {
  const { customer, operator } = await stage.callInProgress({ operator: ['irina', 'firefox'] });
  await operator.tab.reload();
  await operator.reaches('active', { timeout: 30_000 });
  await operator.sees(customer.person.quadrants);
  await customer.keepsMoving();
  await customer.meets(operator.person);
});
