// A customer and an operator talk: pictures, sound, chat and names, each checked on the other side.
import assert from 'node:assert/strict';
import { scenario } from './lib/scenario.mjs';
import { until } from './lib/wait.mjs';

scenario('chromium customer and chromium operator see, hear and read each other', async (stage) => {
  const operator = await stage.operator('irina');
  const customer = await stage.customer('anna');
  await customer.call();
  const offer = await operator.rings();
  assert.equal(offer.name, 'Anna');
  assert.match(offer.id, /cust_|[0-9a-z]{4,}/i, 'the card tells the customer id');
  assert.ok(offer.seconds > 0 && offer.seconds <= 60, `seconds left to answer: ${offer.seconds}`);
  await operator.accept();
  await customer.reaches('active');

  await operator.meets(customer.person);
  await customer.meets(operator.person);
  await operator.shows('customer-name', /Anna/);
  await operator.shows('customer-id', /\S/);
  await customer.shows('peer-name', /\S/);

  // The own picture, too.
  await customer.sees(customer.person.quadrants, { video: 'self-video' });

  await customer.says('Good morning');
  await operator.reads([['Good morning', false]]);
  await operator.says('Hello Anna, how can I help? <b>&amp;</b>');
  await customer.reads([['Good morning', true], ['Hello Anna, how can I help? <b>&amp;</b>', false]]);
  await operator.reads([['Good morning', false], ['Hello Anna, how can I help? <b>&amp;</b>', true]]);

  // The picture is a film, not a photograph, and one connection carried it all.
  await Promise.all([customer.keepsMoving({ frames: 20 }), operator.keepsMoving({ frames: 20 })]);
  assert.equal((await customer.mediaConnections()).connected, 1);
  assert.equal((await operator.mediaConnections()).connected, 1);
  for (const page of [customer, operator]) {
    assert.deepEqual(page.tab.log.filter((line) => line.startsWith('error:')), [], `${page.person.name}'s console`);
  }
});

scenario('a second customer waits in place and is served after the first', async (stage) => {
  const anna = await stage.customer('anna');
  await anna.queues();
  await anna.place(1);
  const boris = await stage.customer('boris');
  await boris.queues();
  await boris.place(2);

  const operator = await stage.operator('irina');
  assert.equal((await operator.rings()).name, 'Anna');
  await operator.accept();
  await anna.reaches('active');
  await boris.place(1);
  await operator.meets(anna.person);

  await operator.hangUp();
  await anna.ended();
  assert.equal((await until('Boris rings', async () => {
    const offer = await operator.rings();
    return offer.name === 'Boris' ? offer : null;
  })).name, 'Boris');
  await operator.accept();
  await boris.reaches('active');
  await operator.meets(boris.person);
  await boris.meets(operator.person);
});

scenario('a customer without a name is called by an id', async (stage) => {
  const operator = await stage.operator('irina');
  const customer = await stage.customer('anna');
  await customer.call({ name: '' });
  const offer = await operator.rings();
  assert.ok(offer.name.length > 0 || offer.id.length > 0, 'the card tells who calls');
  await operator.accept();
  await operator.meets(customer.person);
});
