// The console in a browser. Run in the folder of `scripts/get-clients.sh browser`, with what to do as JSON in CONSOLE:
//
//   { "url", "user", "password", "looker": { "user", "password" }, "pages": [path], "full": bool, "acts": bool, "places": [[path, key]], "shots": folder }
//
// Says what it has seen, a line each, and ends with 1 if anything was not as it should be.
import { createRequire } from 'node:module';
import { readFileSync, mkdirSync } from 'node:fs';

import { walks } from './keyboard.mjs';

const require = createRequire(`${process.cwd()}/`);
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const given = JSON.parse(process.env.CONSOLE);
const at = (path) => `${given.url}${path}`;
const faults = [];
const fault = (text) => { faults.push(text); console.log(`FAULT ${text}`); };

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

async function person(options = {}, who = given) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  // nothing a stranger wrote may run, and the policy of the page has nothing to forbid
  page.on('dialog', (dialog) => { fault(`a script ran: ${dialog.message()}`); dialog.dismiss(); });
  page.on('pageerror', (error) => fault(`${page.url()}: ${error}`));
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of 4\d\d|status of 503/.test(message.text())) fault(`${page.url()}: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(given.url)) fault(`${page.url()} asks for ${request.url()}`);
  });
  await page.goto(at('/login'));
  if (who.password) {
    await page.fill('#user', who.user);
    await page.fill('#password', who.password);
    await page.click('button[type=submit]');
    await page.waitForSelector('main h1');
    if (page.url().includes('/login')) throw new Error(`${who.user} cannot log in: ${await page.innerText('main')}`);
  }
  return page;
}

async function fits(page, what) {
  const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  if (wide > width) {
    const widest = await page.evaluate((width) => [...document.querySelectorAll('body *')]
      .filter((part) => part.getBoundingClientRect().right > width + 1 && !part.closest('.wide, pre, svg'))
      .slice(0, 3).map((part) => part.outerHTML.slice(0, 120)), width);
    fault(`${what}: ${wide} px in ${width}: ${widest.join(' | ')}`);
  }
}

async function isReadable(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  for (const { id, help, nodes } of found.violations) {
    fault(`${what}: ${id}: ${help}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary?.split('\n')[1] ?? ''}`).join(' | ')}`);
  }
  return found.passes.length;
}

const name = (path) => path.replace(/^\//, '').replace('?of=nobody', '-unknown').split('?')[0].replaceAll('/', '-') || 'sky';

// each theme and width with a script; without one each width; and for one who only looks
const looking = [
  ...['light', 'dark'].flatMap((colorScheme) => [1280, 360].map((width) => ({ colorScheme, width, javaScriptEnabled: true, who: given }))),
  ...[1280, 360].map((width) => ({ colorScheme: 'light', width, javaScriptEnabled: false, who: given })),
  ...[['light', 1280], ['dark', 360]].map(([colorScheme, width]) => ({ colorScheme, width, javaScriptEnabled: true, who: given.looker })),
];

// axe takes most of the time: it reads what is full in each way, and what is empty, which has the same frame, in two
const isRead = ({ colorScheme, width, javaScriptEnabled, who }) =>
  javaScriptEnabled && (given.full || (who === given && (colorScheme === 'light') === (width === 1280)));

async function looks() {
  let looked = 0;
  for (const way of looking) {
    const { colorScheme, width, javaScriptEnabled, who } = way;
    const page = await person({ colorScheme, javaScriptEnabled, viewport: { width, height: 800 } }, who);
    for (const path of ['/login', ...given.pages]) {
      const what = `${path} ${colorScheme} ${width} ${javaScriptEnabled ? 'with' : 'without'} a script, as ${who.user}`;
      await page.goto(at(path));
      if (!(await page.innerText('h1')).trim()) fault(`${what}: no heading`);
      await fits(page, what);
      if (isRead(way) && !(await isReadable(page, what))) fault(`${what}: axe saw nothing`);
      looked += 1;
    }
    await page.context().close();
  }
  console.log(`looked at ${looked} pages`);
}

async function theme() {
  const page = await person();
  // the theme that was said goes before the browser's
  await page.click('.menu summary');
  await page.click('button[value=dark]');
  const ground = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  if (ground !== 'rgb(17, 17, 24)') fault(`the dark theme is ${ground}`);
  await page.context().close();
  console.log('the theme is kept');
}

// the dead in the navigation of a page that is open, while somebody else acts; what is typed there stays
async function badge(then) {
  const page = await person();
  await page.goto(at('/list'));
  await page.fill('#search', 'half a na');
  const shown = () => page.evaluate(() => Number(document.querySelector('#dead .badge:not([hidden])')?.firstChild.data ?? 0));
  await page.waitForSelector('#dead .badge:not([hidden])');
  const before = await shown();
  await then.one();
  await page.waitForFunction((wanted) => document.querySelector('#dead .badge:not([hidden])')?.firstChild.data === String(wanted), before - 1);
  await then.all();
  await page.waitForFunction(() => !document.querySelector('#dead .badge:not([hidden])'));
  if ((await page.inputValue('#search')) !== 'half a na') fault('what was typed is gone');
  await page.context().close();
  console.log('the badge lives');
}

async function acts(javaScriptEnabled) {
  const page = await person({ javaScriptEnabled });
  const suffix = javaScriptEnabled ? 'script' : 'plain';
  const notice = async (wanted) => {
    const said = await page.innerText('main .notice');
    if (!said.includes(wanted)) fault(`${page.url()}: ${said}`);
  };
  await page.goto(at(`/message?of=cancel-${suffix}`));
  await page.click('summary:has-text("Cancel")');
  await page.click('text=Cancel it for good');
  await notice('Cancelled: no attempt has begun');
  await page.goto(at(`/message?of=move-${suffix}`));
  await page.click('summary:has-text("Move")');
  await page.fill('#to', '1s');
  await page.click('text=Move it');
  await notice('new time');
  await page.goto(at(`/message?of=now-${suffix}`));
  await page.click('summary:has-text("Run now")');
  await page.click('text=Run it now');
  await page.waitForSelector('main .notice');
  const choose = async () => {
    await page.goto(at('/dlq'));
    await page.locator('td.check input').first().check();
    await page.click('text=Choose selected');
  };
  await actsOnSchedules(page, suffix, notice);
  await choose();
  await fits(page, `the chosen ${suffix}`);
  if (javaScriptEnabled) await isReadable(page, 'the chosen');
  await page.click('button.danger');
  await notice('1 message deleted');
  await choose();
  await page.fill('#routing_key', 'dormouse.dlq');
  await page.click('text=Send 1 elsewhere');
  await notice('Nothing was done');
  await page.fill('#routing_key', 'rescued');
  await page.click('text=Send 1 elsewhere');
  await notice('1 message sent to queue');
  await page.context().close();
  console.log(`acted ${suffix}`);
}

async function actsOnSchedules(page, suffix, notice) {
  const of = (name) => page.locator('section.panel', { has: page.locator('h2', { hasText: `${name}-${suffix}` }) });
  await page.goto(at('/schedules'));
  await of('paused').locator('summary:has-text("Pause")').click();
  await of('paused').locator('summary:has-text("Run now")').click();
  const { width, height } = page.viewportSize();
  for (const narrow of [360, width]) {
    await page.setViewportSize({ width: narrow, height });
    await fits(page, `/schedules with open forms, ${narrow} ${suffix}`);
  }
  if (suffix === 'script') await isReadable(page, '/schedules with open forms');
  await of('paused').locator('input[name=note]').fill('until the move is done');
  await of('paused').locator('button:has-text("Pause it")').click();
  await notice(`paused-${suffix}: paused`);
  const told = await of('paused').innerText();
  for (const wanted of ['paused', 'until the move is done', 'Resume']) if (!told.includes(wanted)) fault(`${wanted} is not in ${told}`);
  await of('resumed').locator('button:has-text("Resume")').click();
  await notice(`resumed-${suffix}: resumed`);
  if (!(await of('resumed').innerText()).includes('fires')) fault('what is resumed does not fire');
  await of('ran').locator('summary:has-text("Run now")').click();
  await of('ran').locator('button:has-text("Run it now")').click();
  await notice(`ran-${suffix}: `);
  if (!(await of('ran').innerText()).includes('by hand')) fault('the run is not told');
}

async function purges() {
  const page = await person();
  await page.goto(at('/dlq'));
  await page.locator('td.check input').first().check();
  await page.click('text=Choose selected');
  await page.click('button.danger');
  await page.waitForSelector('main .notice');
  await page.context().close();
}

// each page in both themes, wide and narrow; with `cut` of what is there when that process has ended
async function shots() {
  mkdirSync(given.shots, { recursive: true });
  const looking = [];
  for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 360]) {
      const page = await person({ colorScheme, viewport: { width, height: width === 360 ? 780 : 900 }, deviceScaleFactor: given.scale ?? 1 });
      looking.push({ colorScheme, width, page });
    }
  }
  if (given.cut) process.kill(given.cut);
  for (const { colorScheme, width, page } of looking) {
    for (const path of given.pages) {
      // a page that looks again by itself may do so just now
      await page.goto(at(path)).catch(() => page.goto(at(path)));
      await page.waitForTimeout(given.wait ?? 300);
      const file = `${given.shots}/${name(path)}-${width}-${colorScheme}.png`;
      await page.screenshot({ path: file, fullPage: given.whole ?? false });
      console.log(file);
    }
    await page.context().close();
  }
}

try {
  if (given.shots) {
    await shots();
  } else {
    if (given.pages.length) await looks();
    if (given.acts) {
      await theme();
      await walks({ person, at, fault, places: given.places });
      await badge({ one: purges, all: async () => { for (const script of [true, false]) await acts(script); } });
    }
  }
} catch (error) {
  fault(error.stack);
}
await browser.close();
process.exit(faults.length ? 1 : 0);
