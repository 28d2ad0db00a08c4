// A load to look at: what a shop would let sleep; with `dead`, what cannot be delivered. In SEED: { "url", "management", "vhost", "user", "password", "messages" }.
const { url, management, vhost, user, password, messages } = JSON.parse(process.env.SEED);
const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

// the same numbers every time
let state = 7;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const pick = (weighted) => {
  let left = random() * weighted.reduce((sum, [, weight]) => sum + weight, 0);
  return weighted.find(([, weight]) => (left -= weight) < 0)[0];
};

async function ask(method, address, body, headers = {}) {
  const response = await fetch(address, { method, body, headers: { authorization, ...headers } });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${address}: ${response.status} ${text.slice(0, 500)}`);
  return text;
}

const queue = (name, args = {}) => ask('PUT', `${management}/api/queues/${encodeURIComponent(vhost)}/${name}`,
  JSON.stringify({ durable: true, arguments: args }), { 'content-type': 'application/json' });
for (const name of ['mail.reminder', 'mail.digest', 'order.unpaid', 'trial.ends', 'session.expire', 'invoice.due']) await queue(name);
await queue('push.gateway', { 'x-max-length': 0, 'x-overflow': 'reject-publish' });

const targets = [['mail.reminder', 34], ['order.unpaid', 26], ['session.expire', 17], ['mail.digest', 12], ['invoice.due', 7], ['trial.ends', 4]];
const second = 1_000;
const day = 86_400 * second;
// most are soon, many in the days that follow, some at midnight, and a few in half a year
const delay = () => {
  const kind = random();
  if (kind < 0.12) return (Math.ceil(Date.now() / day) + Math.floor(random() * 14)) * day - Date.now();
  return Math.round(40 * second * Math.exp(random() * Math.log(170 * day / (40 * second))));
};
const schedule = (lines) => ask('POST', `${url}/v1/messages:batch`, lines.map((line) => JSON.stringify(line)).join('\n'), { 'content-type': 'application/x-ndjson' });

if (process.argv[2] === 'dead') {
  await schedule(Array.from({ length: 137 }, (_, at) => ({ target: { queue: 'sms.retired' }, delay: 0, body: { at } })));
  await schedule(Array.from({ length: 9 }, (_, at) => ({ target: { queue: 'fax.office' }, delay: 0, body: { at } })));
  await new Promise((done) => setTimeout(done, 3_000));
  process.exit(0);
}
// what recurs: something has run, one has been asked for, and one waits for somebody
const api = (method, path, body) => ask(method, `${url}/v1/schedules/${path}`, JSON.stringify(body), { 'content-type': 'application/json' });
const recurring = {
  heartbeat: { every: '5s', target: { queue: 'session.expire' }, body: { run: '{{run}}' } },
  'invoices.monthly': { cron: '0 6 L * *', zone: 'Europe/Berlin', target: { queue: 'invoice.due' }, body: {} },
  'reports.nightly': { cron: '30 2 * * 1-5', zone: 'Europe/Berlin', target: { queue: 'mail.digest' }, body: { report: 'sales' } },
  'reminders.weekly': { cron: '@weekly', zone: 'America/New_York', target: { queue: 'mail.reminder' }, body: {} },
};
for (const [name, definition] of Object.entries(recurring)) await api('PUT', name, definition);
await api('POST', 'reports.nightly:trigger', {});
await api('POST', 'reminders.weekly:pause', { note: 'until the new template is approved' });

let number = 0;
for (let left = messages; left > 0; left -= 1_000) {
  await schedule(Array.from({ length: Math.min(left, 1_000) }, () => {
    number += 1;
    const target = pick(targets);
    return { target: { queue: target }, delay: delay(), key: `${target.split('.')[0]}-${number}`, body: { order: number, note: 'x'.repeat(Math.floor(random() * 300)) } };
  }));
}
// what has come, and what fails
await schedule(Array.from({ length: 400 }, (_, at) => ({ target: { queue: pick(targets) }, delay: Math.round(random() * 3_000), body: { at } })));
await schedule(Array.from({ length: 60 }, (_, at) => ({ target: { queue: 'push.gateway' }, delay: 0, key: `push-${at}`, body: { at } })));
await schedule([{ target: { queue: 'order.unpaid' }, delay: '3h', key: 'order-17', unique: true, body: { order: 17, total: '49.90' } }]);
console.log(`${messages} messages sleep`);
